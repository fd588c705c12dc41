package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
)

// version is a version of Kuma. The zero version is not said. A part that is missing is
// the latest one.
type version struct {
	text                string
	major, minor, patch int
}

const latest = math.MaxInt

func parseVersion(text string) (version, error) {
	v := version{text, 0, latest, latest}
	if text == "" {
		return version{}, nil
	}
	parts := strings.Split(text, ".")
	numbers := []*int{&v.major, &v.minor, &v.patch}
	good := len(parts) <= len(numbers)
	for i := 0; good && i < len(parts); i++ {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		*numbers[i] = int(n)
		good = err == nil && strconv.FormatUint(n, 10) == parts[i]
	}
	if !good || v.major != 2 && v.major != 3 {
		return version{}, fmt.Errorf("found %.32q, want a version of Kuma 2 or 3, such as 2.13, 2.14.6 or 3.0", text)
	}
	return v, nil
}

func (v version) String() string { return v.text }

// readsOnlyOldNames reports whether this version reads the names that begin with kmesh,
// and not those that replace them. The two sets are known to 2.14.6 and later 2.x.
func (v version) readsOnlyOldNames() bool {
	return v.major == 2 && (v.minor < 14 || v.minor == 14 && v.patch < 6)
}

// boundary returns what this version compares the token of a proxy with. A version that is
// not said has none.
func (v version) boundary() []dataplane.ValidatorOption {
	var b dataplane.Boundary
	switch {
	case v.major == 0:
		return nil
	case v.major == 3:
		b = dataplane.AsKuma30()
	case v.minor > 14, v.minor == 14 && v.patch >= 2, v.minor == 13 && v.patch >= 10:
		b = dataplane.AsKuma214()
	default:
		b = dataplane.AsKuma210()
	}
	return []dataplane.ValidatorOption{dataplane.WithBoundary(b)}
}
