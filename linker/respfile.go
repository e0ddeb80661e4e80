package linker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// maxResponseFiles bounds how many response files one command line may name,
// directly or through others, so that files that name one another are an
// error and not a hang. gcc has the same bound.
const maxResponseFiles = 2000

// expander replaces response files by what they hold.
type expander struct {
	dir   string   // the working folder
	out   []string // the arguments so far
	files int      // response files read
}

// expandResponseFiles replaces each @FILE in args by the arguments in FILE,
// which is resolved against dir. As the linkers do, it takes an @FILE that
// does not exist for the name of an input. used says that there was one.
func expandResponseFiles(args []string, dir string) (expanded []string, used bool, err error) {
	e := expander{dir: dir, out: make([]string, 0, len(args))}
	if err := e.expand(args); err != nil {
		return nil, false, err
	}
	return e.out, e.files > 0, nil
}

func (e *expander) expand(args []string) error {
	for _, arg := range args {
		name, isFile := strings.CutPrefix(arg, "@")
		if !isFile || name == "" {
			e.out = append(e.out, arg)
			continue
		}
		data, err := readRegular(resolve(e.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			e.out = append(e.out, arg)
			continue
		}
		if err != nil {
			return fmt.Errorf("response file: %w", err)
		}
		if e.files++; e.files > maxResponseFiles {
			return fmt.Errorf("%s: more than %d response files", arg, maxResponseFiles)
		}
		var inner []string
		if filepath.Base(name) == rustcResponseName {
			inner = splitRustcResponse(data)
		} else if inner, err = splitGNUResponse(data); err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		if err := e.expand(inner); err != nil {
			return err
		}
	}
	return nil
}

// rustcResponseName is what rustc calls its response file, always. Its
// format is not quite GNU's: quotes stand for themselves.
const rustcResponseName = "linker-arguments"

// splitRustcResponse reads rustc's format: one argument a line, a backslash
// and a space each written with a backslash before it.
func splitRustcResponse(data []byte) []string {
	var args []string
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		arg := make([]byte, 0, len(line))
		for i := 0; i < len(line); i++ {
			if line[i] == '\\' && i+1 < len(line) {
				i++
			}
			arg = append(arg, line[i])
		}
		args = append(args, string(arg))
	}
	return args
}

// splitGNUResponse reads what gcc, ld and lld read: arguments apart by white
// space, a backslash before any character, single and double quotes.
func splitGNUResponse(data []byte) ([]string, error) {
	var args []string
	var arg []byte
	inArg, quote := false, byte(0)
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case c == '\\' && i+1 < len(data):
			i++
			arg, inArg = append(arg, data[i]), true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				arg = append(arg, c)
			}
		case c == '\'' || c == '"':
			quote, inArg = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if inArg {
				args = append(args, string(arg))
				arg, inArg = arg[:0], false
			}
		default:
			arg, inArg = append(arg, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("response file: no closing %c", quote)
	}
	if inArg {
		args = append(args, string(arg))
	}
	return args, nil
}

// formatResponse writes args so that both rustc's linkers and the GNU rules
// read them back: one a line, everything that GNU gives a meaning behind a
// backslash.
func formatResponse(args []string) []byte {
	var b bytes.Buffer
	for _, arg := range args {
		if arg == "" {
			b.WriteString(`""`)
		}
		for i := 0; i < len(arg); i++ {
			if strings.IndexByte("\\'\" \t\n\r\v\f", arg[i]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(arg[i])
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// resolve is path as the linker, working in dir, would open it.
func resolve(dir, path string) string {
	if filepath.IsAbs(path) || dir == "" {
		return path
	}
	return filepath.Join(dir, path)
}
