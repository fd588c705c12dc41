package keystore_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/keystore"
)

func TestNoteLagIsHeardByTheCallerOfThisCallAndNoOther(t *testing.T) {
	keystore.NoteLag(t.Context()) // nobody asks
	ours, ourAnswer := keystore.WithLag(t.Context())
	_, another := keystore.WithLag(t.Context())
	assert.False(t, ourAnswer())
	keystore.NoteLag(ours)
	assert.True(t, ourAnswer())
	assert.True(t, ourAnswer(), "asked again")
	assert.False(t, another())
}

func TestNoteLagIsHeardByTheCallerOfAStoreThatAsksTheStoreInIt(t *testing.T) {
	ofCaller, caller := keystore.WithLag(t.Context())
	ofWrapper, wrapper := keystore.WithLag(ofCaller)
	keystore.NoteLag(ofWrapper)
	assert.True(t, wrapper())
	assert.True(t, caller())

	ofCaller, caller = keystore.WithLag(t.Context())
	_, wrapper = keystore.WithLag(ofCaller)
	keystore.NoteLag(ofCaller)
	assert.True(t, caller())
	assert.False(t, wrapper())
}
