package linker

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// originalNames puts the names of the user's inputs in the place of those of
// new objects, in what the real linker wrote for people: messages, a link map.
// A name like lib.a(x.o) is how all linkers write a member.
type originalNames struct {
	work     *workFolder
	replacer *strings.Replacer // nil until it is needed
}

// in is text with the names put right; changed says that it had any.
func (n *originalNames) in(text []byte) (restored []byte, changed bool) {
	if !bytes.Contains(text, []byte(n.work.Path)) {
		return text, false
	}
	if n.replacer == nil {
		pairs, err := readArgs(filepath.Join(n.work.Path, namesFile))
		if err != nil || len(pairs)%2 != 0 {
			return text, false
		}
		n.replacer = strings.NewReplacer(pairs...)
	}
	return []byte(n.replacer.Replace(string(text))), true
}

// restoreMap puts the names in the link map right that the command line asks
// for. Without that no two links would have equal maps.
func restoreMap(cl *CommandLine, names *originalNames) {
	if cl.Map == "" {
		return
	}
	path := resolve(cl.Dir, cl.Map)
	if st, err := os.Stat(path); err == nil && st.IsDir() { // GNU ld: a folder
		path = filepath.Join(path, filepath.Base(cl.Output)+".map")
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return // "-" is standard output
	}
	text, err := readRegular(path)
	if errors.Is(err, errIrregular) {
		return
	}
	if err == nil {
		restored, changed := names.in(text)
		if !changed {
			return
		}
		temp := filepath.Join(names.work.Path, "map")
		if err = os.WriteFile(temp, restored, 0o600); err == nil {
			err = publish(temp, path)
		}
	}
	if err != nil {
		warn("the link map names temporary files: %s", err)
	}
}
