package jwks

import (
	"time"

	"github.com/meshpass/meshpass/signing"
)

// SetFloor changes the time between two fetches of a source that URL has made.
func SetFloor(source signing.Source, floor time.Duration) { source.(*endpoint).floor = floor }
