package linker

import "leanlink/objfile"

// startFiles are the objects that a driver adds to a link by itself, found
// where it looks for libraries: nothing of them is changed, but what they
// define no archive's member defines again, and what they refer to is wanted.
// A start file that is not found is left out: then the real linker finds
// fault with a link that would need it, and the original one is run.
func startFiles(cl *CommandLine, dirs []string, mapped *mappings) ([]*objfile.File, error) {
	if cl.Style != StyleCC || hasOption(cl, "-nostartfiles") || hasOption(cl, "-nostdlib") {
		return nil, nil
	}
	names := []string{"crt1.o", "crti.o", "crtbegin.o"}
	switch {
	case cl.Shared:
		names = []string{"crti.o", "crtbeginS.o"}
	case cl.StaticExe && cl.PIE:
		names = []string{"rcrt1.o", "crti.o", "crtbeginS.o"}
	case cl.StaticExe:
		names = []string{"crt1.o", "crti.o", "crtbeginT.o"}
	case cl.PIE:
		names = []string{"Scrt1.o", "crti.o", "crtbeginS.o"}
	}
	var files []*objfile.File
	for _, name := range names {
		path := cl.findLibrary(&Input{Library: ":" + name}, dirs)
		if path == "" {
			continue
		}
		b, err := mapped.open(resolve(cl.Dir, path))
		if err != nil {
			return nil, err
		}
		f, err := objfile.Parse(path, b)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func hasOption(cl *CommandLine, option string) bool {
	for _, a := range cl.Args {
		if a == option {
			return true
		}
	}
	return false
}
