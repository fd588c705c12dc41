package etcd

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// The value of a key is a header line and then the record's Data:
//
//	meshpass/1 2026-01-31T12:00:00.123456789Z RNQFZWPZ4KBTCXRIQVQPJWVN4C
//
// The line has the time of creation, since etcd keeps none, and a random text that no
// other write has.
const (
	magic   = "meshpass/"
	version = "1"
)

var errHeader = errors.New("its value begins with " + magic + " and not with a header of version " + version)

// encode returns the value of a record. No two calls return the same one.
func encode(created time.Time, data []byte) []byte {
	header := magic + version + " " + created.UTC().Format(time.RFC3339Nano) + " " + rand.Text() + "\n"
	return append([]byte(header), data...)
}

// decode returns what is in a value. A value without a header was put there by hand:
// it is all data, and its time of creation is unknown.
func decode(value []byte) (created time.Time, data []byte, err error) {
	if !bytes.HasPrefix(value, []byte(magic)) {
		return time.Time{}, value, nil
	}
	header, data, ok := bytes.Cut(value, []byte("\n"))
	fields := strings.Split(string(header), " ")
	if !ok || len(fields) != 3 || fields[0] != magic+version {
		return time.Time{}, nil, errHeader
	}
	if created, err = time.Parse(time.RFC3339Nano, fields[1]); err != nil {
		return time.Time{}, nil, errHeader // without the text of err, which could be data
	}
	return created.UTC(), data, nil
}
