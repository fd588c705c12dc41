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

// stampOf returns a file's stamp and the present time, so that the content is always
// compared too: on this system any program can set every time of a file.
func stampOf(info fs.FileInfo) (stamp fileStamp, latest time.Time) {
	return fileStamp{size: info.Size(), modified: info.ModTime().UnixNano()}, time.Now()
}

// changedTime returns when a file or folder was last changed, as far as its times tell.
func changedTime(info fs.FileInfo) time.Time { return info.ModTime() }
