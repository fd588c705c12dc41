package signing_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/signing"
)

func TestSerialIsReadFromItsOwnKeyID(t *testing.T) {
	for serial, kid := range map[signing.Serial]string{
		0: "0", 1: "1", 9: "9", 10: "10", math.MaxInt64: "9223372036854775807",
	} {
		assert.Equal(t, kid, serial.KeyID())
		parsed, ok := signing.ParseSerial(kid)
		assert.True(t, ok, kid)
		assert.Equal(t, serial, parsed)
	}
}

func TestSerialIsCanonicalDecimalOnly(t *testing.T) {
	for _, kid := range []string{
		"", " ", "00", "01", "0002", "+1", "+0", "-1", "-0", " 1", "1 ", "1\n", "1.0", "1e3", "1_000", "0x1", "0b1", "a",
		"key-1", "../../1", "\x00", "1\x00", "٣", "１",
		"9223372036854775808", "18446744073709551616", "99999999999999999999", "-9223372036854775808",
	} {
		serial, ok := signing.ParseSerial(kid)
		assert.False(t, ok, "%q", kid)
		assert.Zero(t, serial, "%q", kid)
	}
}
