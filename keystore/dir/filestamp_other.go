//go:build !linux && !darwin

package dir

import (
	"io/fs"
	"time"
)

// fileStamp holds what there is to compare without reading a file.
type fileStamp struct {
	size     int64
	modified int64 // ns
}

// stampOf returns a file's stamp and now, so that the content is always
// compared too: here, every time of a file can be set by any program.
func stampOf(info fs.FileInfo) (stamp fileStamp, latest time.Time) {
	return fileStamp{size: info.Size(), modified: info.ModTime().UnixNano()}, time.Now()
}
