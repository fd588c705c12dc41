package renewal

import (
	"os"
	"path/filepath"
	"strings"
)

// isMounted reports whether a file is a mount of its own, as with subPath of Kubernetes.
// No other file can take its place.
func isMounted(path string) bool {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(absolute))
	if err != nil {
		return false
	}
	escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(filepath.Join(folder, filepath.Base(absolute)))
	mounts, _ := os.ReadFile("/proc/self/mountinfo") // proc(5); without it nothing is known
	for mount := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(mount); len(fields) > 4 && fields[4] == escaped {
			return true
		}
	}
	return false
}
