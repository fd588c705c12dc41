package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/cap/oidc"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// eachPeer runs a test with every library in Go and every kind of token.
func eachPeer(t *testing.T, test func(t *testing.T, k kind, peer interop.Peer)) {
	for _, k := range kinds(t) {
		for _, peer := range peersWith(t, k.key) {
			t.Run(peer.Name+"/"+k.name, func(t *testing.T) { test(t, k, peer) })
		}
	}
}

// peersWith returns all libraries in Go; cap a second time, with a key set that it
// fetches.
func peersWith(t *testing.T, key interop.Key) []interop.Peer {
	t.Helper()
	peers, err := interop.Peers(key)
	require.NoError(t, err)
	jwks, err := key.JWKS()
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(jwks)
	}))
	t.Cleanup(server.Close)
	fetching, err := interop.CapFromURL(t.Context(), server.URL)
	require.NoError(t, err)
	fetching.Name += " from a URL"
	for i := range peers {
		if peers[i].Sign == nil { // cap signs in its tests only
			peers[i].Sign = signerOfCap(t, key)
		}
	}
	fetching.Sign = signerOfCap(t, key)
	return append(peers, fetching)
}

// signerOfCap returns the helper that cap offers to tests of its users.
func signerOfCap(t *testing.T, key interop.Key) func(token.Claims) (string, error) {
	return func(c token.Claims) (string, error) {
		return oidc.TestSignJWT(t, key.RSA, "RS256", payloadOf(c), []byte(key.ID)), nil
	}
}

func TestPeersAcceptAndReadWhatWeIssue(t *testing.T) {
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		raw := k.issue(t)
		claims, err := peer.Verify(raw)
		require.NoError(t, err)
		require.Equal(t, claimsOf(t, raw), claims)
		require.Equal(t, k.claims.Dataplane, claims.Dataplane)
		require.Equal(t, k.claims.Zone, claims.Zone)
	})
}

func TestPeersIssueWhatWeAcceptAndRead(t *testing.T) {
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		raw, err := peer.Sign(k.claims)
		require.NoError(t, err)
		claims, err := k.validate(raw)
		require.NoError(t, err)
		require.Equal(t, k.claims, claims)
	})
}

func TestPeersReadWhatTheyIssueThemselves(t *testing.T) {
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		raw, err := peer.Sign(k.claims)
		require.NoError(t, err)
		claims, err := peer.Verify(raw)
		require.NoError(t, err)
		require.Equal(t, k.claims, claims)
	})
}

func TestPeersAndWeRefuseATamperedToken(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		theirs, err := peer.Sign(k.claims)
		require.NoError(t, err)
		other, err := interop.GolangJWT(interop.Key{ID: "1", RSA: stranger})
		require.NoError(t, err)
		strange, err := other.Sign(k.claims)
		require.NoError(t, err)
		for who, raw := range map[string]string{"ours": k.issue(t), "theirs": theirs} {
			for what, forged := range forgeries(t, raw, strange) {
				_, err := peer.Verify(forged)
				require.Error(t, err, "%s, %s: accepted by %s", who, what, peer.Name)
				_, err = k.validate(forged)
				require.ErrorIs(t, err, token.ErrSignature, "%s, %s", who, what)
			}
			_, err := peer.Verify(raw)
			require.NoError(t, err, "%s: the token itself is good", who)
		}
	})
}

// The token is out of date by more than any leeway, which is 30 seconds with us and
// 60 with cap.
func TestPeersAndWeRefuseAnExpiredToken(t *testing.T) {
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		claims := k.claims
		claims.ExpiresAt = time.Now().Add(-10 * time.Minute).Truncate(time.Second)
		claims.NotBefore = claims.ExpiresAt.Add(-time.Hour)
		claims.IssuedAt = claims.NotBefore
		raw, err := peer.Sign(claims)
		require.NoError(t, err)
		_, err = peer.Verify(raw)
		require.Error(t, err)
		_, err = k.validate(raw)
		require.ErrorIs(t, err, token.ErrExpired)
	})
}

func TestPeersAndWeRefuseATokenThatIsNotValidYet(t *testing.T) {
	eachPeer(t, func(t *testing.T, k kind, peer interop.Peer) {
		claims := k.claims
		claims.NotBefore = time.Now().Add(10 * time.Minute).Truncate(time.Second)
		raw, err := peer.Sign(claims)
		require.NoError(t, err)
		_, err = peer.Verify(raw)
		require.Error(t, err)
		_, err = k.validate(raw)
		require.ErrorIs(t, err, token.ErrNotYetValid)
	})
}

// Offline, without a store on either side, with larger keys and with a kid that is
// no serial number.
func TestPeersAndWeUnderstandEachOtherOffline(t *testing.T) {
	for _, bits := range []int{3072, 4096} {
		rsaKey, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		key := interop.Key{ID: "west-1 (2026)", RSA: rsaKey}
		pkcs8, err := key.PKCS8()
		require.NoError(t, err)
		private, err := signing.ParsePrivateKey(pkcs8)
		require.NoError(t, err)
		pkix, err := key.PKIX()
		require.NoError(t, err)
		public, err := signing.ParsePublicKey(pkix)
		require.NoError(t, err)

		issuer, err := dataplane.NewOfflineIssuer(private, key.ID, dataplane.WithLogger(quiet))
		require.NoError(t, err)
		validator, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", key.ID, public), dataplane.WithLogger(quiet))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, validator.Close()) })
		ours, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
		require.NoError(t, err)

		for _, peer := range peersWith(t, key) {
			claims, err := peer.Verify(ours.Token)
			require.NoError(t, err, "%s, %d bits", peer.Name, bits)
			require.Equal(t, claimsOf(t, ours.Token), claims, "%s, %d bits", peer.Name, bits)

			want := token.Claims{Dataplane: token.Dataplane{Mesh: "default", Name: "dp-2"}, Registered: registered()}
			theirs, err := peer.Sign(want)
			require.NoError(t, err)
			verified, err := validator.Validate(t.Context(), "default", theirs)
			require.NoError(t, err, "%s, %d bits", peer.Name, bits)
			require.Equal(t, want.Dataplane, verified.Claims())
			require.Equal(t, want.Registered, verified.Registered())
			require.Equal(t, key.ID, verified.KeyID())
		}
	}
}
