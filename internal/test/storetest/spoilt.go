package storetest

import (
	"context"
	"sync"

	"github.com/meshpass/meshpass/keystore"
)

// Spoilt is a store some of whose records cannot be read, such as files of another user.
type Spoilt struct {
	keystore.KeyStore

	mu    sync.Mutex
	spoil map[spoiltRecord]error
}

type spoiltRecord struct {
	scope keystore.Scope
	name  string
}

// NewSpoilt returns a store over another, all of whose records can be read at first.
func NewSpoilt(store keystore.KeyStore) *Spoilt {
	return &Spoilt{KeyStore: store, spoil: make(map[spoiltRecord]error)}
}

// Spoil makes a record unreadable for a reason, or with nil readable again. The record
// need not exist.
func (s *Spoilt) Spoil(scope keystore.Scope, name string, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason == nil {
		delete(s.spoil, spoiltRecord{scope, name})
	} else {
		s.spoil[spoiltRecord{scope, name}] = reason
	}
}

func (s *Spoilt) reason(scope keystore.Scope, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spoil[spoiltRecord{scope, name}]
}

// Get implements [keystore.KeyStore].
func (s *Spoilt) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	r, err := s.KeyStore.Get(ctx, scope, name)
	if reason := s.reason(scope, name); err == nil && reason != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, keystore.CannotRead(reason))
	}
	return r, err
}

// List implements [keystore.KeyStore].
func (s *Spoilt) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := s.KeyStore.List(ctx, scope, prefix)
	if err != nil {
		return records, err
	}
	var readable []keystore.Record
	var unreadable []*keystore.Error
	for _, r := range records {
		if reason := s.reason(r.Scope, r.Name); reason != nil {
			unreadable = append(unreadable, &keystore.Error{Op: "read", Scope: r.Scope, Name: r.Name, Err: reason})
		} else {
			readable = append(readable, r)
		}
	}
	return readable, keystore.Unreadable(unreadable)
}
