package sealed

import (
	"crypto/sha256"
	"sync"
)

// maxYoung is how many of the data keys used last are remembered at least.
const maxYoung = 128 << 10

// dataKeys remembers opened data keys, by the digest of the header in which they were
// sealed. So a key serves only the state of the record for which it was opened. Keys in
// use are young. When there are too many of them, they become the old ones, and the
// previous old ones, which were not used since, are forgotten.
type dataKeys struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte][dataKeyLength]byte
}

func newDataKeys() *dataKeys {
	return &dataKeys{young: map[[sha256.Size]byte][dataKeyLength]byte{}}
}

func (d *dataKeys) get(header []byte) (key [dataKeyLength]byte, ok bool) {
	digest := sha256.Sum256(header)
	d.mu.Lock()
	defer d.mu.Unlock()
	if key, ok = d.young[digest]; ok {
		return key, true
	}
	if key, ok = d.old[digest]; ok {
		d.putLocked(digest, key)
	}
	return key, ok
}

func (d *dataKeys) put(header []byte, key [dataKeyLength]byte) {
	digest := sha256.Sum256(header)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.putLocked(digest, key)
}

// putLocked makes a key a young one. d.mu is held.
func (d *dataKeys) putLocked(digest [sha256.Size]byte, key [dataKeyLength]byte) {
	if len(d.young) >= maxYoung {
		d.old, d.young = d.young, map[[sha256.Size]byte][dataKeyLength]byte{}
	}
	d.young[digest] = key
}
