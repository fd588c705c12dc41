package live

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNothingIsHeldForAScopeToWhichNothingBelongs(t *testing.T) {
	m := make(byScope[string, int])
	m.put("a", "one", 1)
	m.put("a", "two", 2)
	m.put("b", "one", 3)
	m.remove("a", "one")
	assert.Equal(t, byScope[string, int]{"a": {"two": 2}, "b": {"one": 3}}, m)
	m.remove("a", "two")
	m.remove("c", "one")
	assert.Equal(t, byScope[string, int]{"b": {"one": 3}}, m)
}
