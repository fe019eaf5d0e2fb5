package checkpoint

import (
	"io"
	"os"
)

// fileSystem is every call by which a write changes the disk. Tests put one in its place that fails at a chosen call.
type fileSystem interface {
	Mkdir(name string) error
	Create(name string) (file, error) // fails if name exists
	Rename(from, to string) error
	Exchange(a, b string) error // swaps two folders; errors.ErrUnsupported where the system cannot
	RemoveAll(name string) error
	SyncDir(name string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

// disk is the fileSystem of the operating system.
type disk struct{}

func (disk) Mkdir(name string) error      { return os.Mkdir(name, 0o777) }
func (disk) Rename(from, to string) error { return os.Rename(from, to) }
func (disk) Exchange(a, b string) error   { return exchange(a, b) }
func (disk) RemoveAll(name string) error  { return os.RemoveAll(name) }
func (disk) SyncDir(name string) error    { return syncDir(name) }

func (disk) Create(name string) (file, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}
