//go:build !unix

package rights

import (
	"io/fs"
	"os"
)

// Keep does nothing: a file gets the rights that its folder passes on.
func Keep(f, old *os.File) error { return nil }

// Inherit does nothing: a file gets the rights that its folder passes on.
func Inherit(f *os.File, folder fs.FileInfo, shared bool) error { return nil }

// Astray returns false.
func Astray(lock, folder fs.FileInfo) bool { return false }

func trusted(link, file fs.FileInfo) bool { return true }

func explained(error) bool { return false }

func situation(string, fs.FileInfo, error) string { return "" }
