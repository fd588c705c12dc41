//go:build linux || darwin

package dir

import (
	"io/fs"
	"syscall"
	"time"
)

// fileStamp differs after a change of a file, unless two changes follow each other too
// closely. It includes the time of change, which no program can set.
type fileStamp struct {
	device, inode uint64
	size          int64
	mode          fs.FileMode
	modified      int64 // ns
	changed       int64 // ns
}

// stampOf returns a file's stamp, and its latest time.
func stampOf(info fs.FileInfo) (stamp fileStamp, latest time.Time) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileStamp{}, time.Now()
	}
	changed := changedAt(stat)
	return fileStamp{
		device:   uint64(stat.Dev),
		inode:    stat.Ino,
		size:     info.Size(),
		mode:     info.Mode(),
		modified: info.ModTime().UnixNano(),
		changed:  changed.UnixNano(),
	}, changed
}

// changedTime returns when a file or folder was last changed.
func changedTime(info fs.FileInfo) time.Time {
	_, changed := stampOf(info)
	return changed
}
