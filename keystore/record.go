package keystore

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// Record is a named blob in a scope. Its name and scope identify it.
//
// A Record is printed, logged and marshalled to JSON, XML and YAML without its Data, also
// as a pointer and inside slices, maps and exported fields. Some printers ask no method of
// a value and show the Data: fmt in an unexported struct field and under the verbs %p and
// %w, encoding/gob, and the differences that testify prints. SECURITY.md lists them.
type Record struct {
	Scope Scope
	Name  string

	// Data is the content. It may be a private key.
	Data []byte `json:"-" xml:"-" yaml:"-"`

	// Version is set by the store. Different Data has a different Version. It means
	// nothing outside the store that set it. Update compares it; Create ignores it.
	Version string

	// Created is the time at which the store created the record, by the store's
	// clock. Update keeps it. The caller need not set it.
	Created time.Time
}

// Format implements [fmt.Formatter]. For every verb it writes the scope, the name,
// the version, the time of creation (RFC 3339) and the length of Data in bytes, and
// never Data.
func (r Record) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "{scope %q, name %q, version %q, created %s, %d bytes}",
		string(r.Scope), r.Name, r.Version, r.Created.Format(time.RFC3339), len(r.Data))
}

// LogValue implements [slog.LogValuer] with the attributes scope, name,
// version, created and size, the length of Data in bytes.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("scope", string(r.Scope)),
		slog.String("name", r.Name),
		slog.String("version", r.Version),
		slog.Time("created", r.Created),
		slog.Int("size", len(r.Data)),
	)
}

// WithoutData returns the record without its Data, as a cache keeps it of what was
// parsed.
func (r Record) WithoutData() Record {
	r.Data = nil
	return r
}

// Unchanged reports whether the record is sure to have the Data that it had when it
// was before: name, Version and Created are the same. Without a Version it is never
// sure.
func (r Record) Unchanged(before Record) bool {
	return r.Version != "" && r.Version == before.Version && r.Name == before.Name && r.Created.Equal(before.Created)
}

// Clone returns a copy of the record that shares no Data with it.
func (r Record) Clone() Record {
	r.Data = bytes.Clone(r.Data)
	return r
}

// CompareRecords compares two records by scope and then name, bytewise: the order
// of [KeyStore] List.
func CompareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
}
