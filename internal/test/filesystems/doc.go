// Package filesystems has tests of the directory store, of renewal and of the tool on file systems
// that lack what others have, such as hard links. They need FUSE and root. It is a module
// of its own, so that the core does not depend on a library for FUSE.
package filesystems
