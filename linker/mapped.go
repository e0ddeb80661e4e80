package linker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// errChanged is the fault of an input that is no longer what was read. It is
// the fault of whoever changes the inputs of a running link: what was made of
// them is thrown away, and the real linker has to do with them as they are.
var errChanged = errors.New("changed during the link")

// errIrregular is the fault of an input that is no file: what a pipe gives it
// gives once, and that is for the real linker.
var errIrregular = errors.New("not a regular file")

// mappings are the files that a link has mapped. Nothing can lock them, so they
// are looked at again at the end.
type mappings struct {
	mu    sync.Mutex
	files map[string]fileStamp // by path
	// images are the files as they are mapped.
	images [][]byte
	below  atomic.Int64 // see keepBelow
}

// fileStamp tells a file from another and from itself before a change.
type fileStamp struct {
	Size     int64
	Modified time.Time
	Device   uint64
	Inode    uint64
}

func stampOf(info os.FileInfo) fileStamp {
	s := fileStamp{Size: info.Size(), Modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Device, s.Inode = uint64(sys.Dev), sys.Ino
	}
	return s
}

// open maps a file for reading. An empty file gives an empty slice.
func (m *mappings) open(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	if m.files == nil {
		m.files = map[string]fileStamp{}
	}
	if _, seen := m.files[path]; !seen {
		m.files[path] = stampOf(info)
	}
	m.mu.Unlock()
	if info.Size() == 0 {
		return nil, nil
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be mapped: %w", path, err)
	}
	m.mu.Lock()
	m.images = append(m.images, b)
	m.mu.Unlock()
	return b, nil
}

// letGo has the system forget that the files were looked at. They can be looked
// at again.
func (m *mappings) letGo() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.images {
		syscall.Madvise(b, syscall.MADV_DONTNEED) // they are files, so nothing is lost
	}
}

// letGoOf has the system forget that bytes of one of the files were looked at.
// Of other bytes nothing is forgotten.
func (m *mappings) letGoOf(b []byte) {
	page := uintptr(os.Getpagesize())
	if len(b) < 16*int(page) {
		return // not worth a call
	}
	start := uintptr(unsafe.Pointer(&b[0]))
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, image := range m.images {
		if at := start - uintptr(unsafe.Pointer(&image[0])); at < uintptr(len(image)) && uintptr(len(b)) <= uintptr(len(image))-at {
			end := (at + uintptr(len(b))) &^ (page - 1)
			syscall.Madvise(image[(at+page-1)&^(page-1):end], syscall.MADV_DONTNEED)
			return
		}
	}
}

// size is the size of all of them, bytes.
func (m *mappings) size() (n int64) {
	for _, f := range m.files {
		n += f.Size
	}
	return n
}

// unchanged returns errChanged if one of the files is another now.
func (m *mappings) unchanged() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := ""
	for path, stamp := range m.files {
		info, err := os.Stat(path)
		if err == nil {
			now := stampOf(info)
			if now.Modified.Equal(stamp.Modified) && now.Size == stamp.Size && now.Device == stamp.Device && now.Inode == stamp.Inode {
				continue
			}
		}
		if first == "" || path < first {
			first = path
		}
	}
	if first == "" {
		return nil
	}
	return fmt.Errorf("%s: %w", first, errChanged)
}

// openRegular opens a regular file and nothing else: opening a pipe could wait
// for ever, and reading it would take what is in it from the real linker.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, errIrregular)
	}
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// readRegular is os.ReadFile for regular files only.
func readRegular(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
