package dataplane_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

func TestATokenWithOtherClaimsOrAConfiguredKeyIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Unix()
		claims := fmt.Sprintf(`"Mesh":"default","exp":%d,"nbf":%d,"iat":%d,"jti":"%08x-0000-7000-8000-000000000001"`, now+3600, now-300, now-5, now*1000>>16)
		plain := signPayload(t, testKey(0), "1", `{`+claims+`}`)
		renew := func(raw string, options ...dataplane.ValidatorOption) error {
			l := newLineage(t, options...)
			_, err := l.issuer.Renew(t.Context(), l.use(raw, ""), time.Hour)
			return err
		}
		assert.NoError(t, renew(plain))
		assert.ErrorIs(t, renew(signPayload(t, testKey(0), "1", `{`+claims+`,"made-up":"it may restrict"}`)), token.ErrLineage)
		assert.ErrorIs(t, renew(plain, dataplane.WithPublicKey("default", "1", testKey(0).Public())), token.ErrLineage)
	})
}
