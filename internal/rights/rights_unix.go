//go:build unix

package rights

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Keep gives f, which this process has made with mode 0600, the owner, the group, the
// mode and the extended attributes of old, which f is to replace.
//
// Only root can give a file away. Another process stays the owner of f, and the group and
// the mode are kept. If the process is not in the group, f gets no rights for the group.
func Keep(f, old *os.File) error {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	kept, err := give(f, info)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if !kept {
		return change(f, mode&^0o070)
	}
	if err := copyAttributes(f, old); err != nil {
		return err
	}
	return change(f, mode)
}

// Inherit gives f, a new file or folder that this process has made with mode 0600 or
// 0700, the owner and the group of the folder that it is in, as far as the process may.
//
// If shared is true and several users share the folder, the group gets the rights that it
// has to the folder. Users share a folder that is setgid, or that its group may write to
// and others may not. A new folder is setgid if its folder is.
func Inherit(f *os.File, folder fs.FileInfo, shared bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	kept, err := give(f, folder)
	if err != nil {
		return err
	}
	mode, of := fs.FileMode(0o600), folder.Mode()
	if info.IsDir() {
		mode = 0o700 | of&fs.ModeSetgid
	}
	if shared && kept && (of&fs.ModeSetgid != 0 || of&0o022 == 0o020) {
		group := of & 0o070
		if !info.IsDir() {
			group &= 0o060
		}
		mode |= group
	}
	return change(f, mode)
}

// Astray reports whether a lock file belongs to the user of this process, and its folder to
// another one: so a process of root has left it that was stopped, or an older version. A
// file that has another name too may be one of root's, to which the other user has made a
// hard link. So may one that has content, which no lock has: root may have removed its other
// name meanwhile, as where a file is replaced by a rename.
func Astray(lock, folder fs.FileInfo) bool {
	f, d := owner(lock), owner(folder)
	return f.Uid == uint32(os.Geteuid()) && f.Uid != d.Uid && f.Nlink == 1 && lock.Size() == 0
}

// trusted reports whether a link may lead this process to a file.
func trusted(link, file fs.FileInfo) bool {
	uid := owner(link).Uid
	return uid == uint32(os.Geteuid()) || uid == 0 || uid == owner(file).Uid
}

// give gives f the owner and the group of another file. It reports whether f has the
// group then. Why an owner cannot be given does not matter: f stays private.
func give(f *os.File, like fs.FileInfo) (group bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	has, want := owner(info), owner(like)
	if has.Uid == want.Uid && has.Gid == want.Gid {
		return true, nil
	}
	if f.Chown(int(want.Uid), int(want.Gid)) == nil {
		return true, nil
	}
	return has.Gid == want.Gid || f.Chown(-1, int(want.Gid)) == nil, nil
}

// change changes the mode, unless it is right already: some file systems have no modes.
func change(f *os.File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode()&(fs.ModePerm|fs.ModeSetgid) == mode {
		return err
	}
	return f.Chmod(mode)
}

func owner(info fs.FileInfo) *syscall.Stat_t {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat
	}
	return &syscall.Stat_t{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
}

func explained(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

func situation(file string, info fs.FileInfo, err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		stat := owner(info)
		return fmt.Sprintf(" belongs to uid %d and gid %d and has mode %s; this process has uid %d and gid %d",
			stat.Uid, stat.Gid, octal(info.Mode()), os.Geteuid(), os.Getegid())
	case errors.Is(err, syscall.ENOSPC) && noInodes(file):
		return ": no inodes left"
	}
	return ""
}

// octal returns a mode as chmod takes it.
func octal(mode fs.FileMode) string {
	bits := mode.Perm()
	for bit, value := range map[fs.FileMode]fs.FileMode{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			bits |= value
		}
	}
	return fmt.Sprintf("%04o", uint32(bits))
}
