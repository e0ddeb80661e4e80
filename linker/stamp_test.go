package linker

import (
	"reflect"
	"slices"
	"testing"
)

// TestStamp checks that each key that changes what is linked changes the stamp,
// whatever keys there will be, and that no other does.
func TestStamp(t *testing.T) {
	plain := (&Config{}).Stamp()
	if again := (&Config{}).Stamp(); again != plain {
		t.Errorf("one config has the stamps %s and %s", plain, again)
	}
	for i := range Keys {
		cfg := &Config{}
		field := reflect.ValueOf(Keys[i].field(cfg)).Elem()
		switch field.Kind() {
		case reflect.String:
			field.SetString("other")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		default:
			t.Fatalf("%s is a %s", Keys[i].Name, field.Type())
		}
		if changed := cfg.Stamp() != plain; changed == slices.Contains(stampless, Keys[i].Name) {
			t.Errorf("%s changes the stamp: %v", Keys[i].Name, changed)
		}
	}
	for _, name := range stampless {
		if !slices.ContainsFunc(Keys, func(k Key) bool { return k.Name == name }) {
			t.Errorf("there is no key %s", name)
		}
	}
}
