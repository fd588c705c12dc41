package main

import (
	"context"
	"crypto"
	cryptorand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	mesh    = "default"
	revoked = 100_000 // ids
	again   = 100     // tokens that are validated repeatedly
)

// claims are the claims of the reference token: a name, and one tag with two values.
var claims = token.Dataplane{
	Mesh: mesh, Name: "backend-7d9c5b6f4-x2x9q",
	Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
}

// result is one row of the table: an operation, and how long each contender takes.
type result struct {
	work    string
	medians map[string]time.Duration // by contender, if it has the operation
}

// The contenders other than the peers.
const (
	ours = "Meshpass"
	raw  = "crypto/rsa"
)

// contender performs an operation on a token, or issues one.
type contender struct {
	name string
	do   func(sample) error
}

// sample is a token, and its parts for the raw operation.
type sample struct {
	text             string
	input, signature []byte
}

func measure(rounds int) ([]result, error) {
	bench, err := newBench(rounds)
	if err != nil {
		return nil, err
	}
	defer bench.close()

	list := map[string]struct{}{}
	for _, id := range bench.revoked {
		list[id] = struct{}{}
	}
	first := func(i int) sample { return bench.tokens[i] }
	seen := func(i int) sample { return bench.tokens[i%again] }
	var results []result
	for _, row := range []struct {
		work       string
		contenders []contender
		token      func(round int) sample
	}{
		{"validate, first sight", bench.validators(bench.validator, nil), first},
		{"validate again", bench.validators(bench.validator, nil), seen},
		{"validate, first sight, 100,000 revoked ids", bench.validators(bench.withList, list), first},
		{"validate again, 100,000 revoked ids", bench.validators(bench.withList, list), seen},
		{"issue, the key in a store", bench.issuers(bench.issuer), first},
		{"issue, the key at hand", bench.issuers(bench.offline), first},
	} {
		fmt.Fprintf(os.Stderr, "measuring: %s\n", row.work)
		medians, err := inTurns(rounds, row.contenders, bench.warmUp, row.token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", row.work, err)
		}
		results = append(results, result{row.work, medians})
	}
	return results, nil
}

// inTurns lets each contender do the work once a round. Each round has a new random
// order, so that other load, and the previous contender, affect all equally. It
// returns the medians.
func inTurns(rounds int, contenders []contender, warmUp sample, token func(round int) sample) (map[string]time.Duration, error) {
	times := make([][]time.Duration, len(contenders))
	for i := range contenders { // the first use, which sets things up, does not count
		if err := contenders[i].do(warmUp); err != nil {
			return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
		}
	}
	for round := range rounds {
		t := token(round)
		for _, i := range rand.Perm(len(contenders)) {
			start := time.Now()
			err := contenders[i].do(t)
			times[i] = append(times[i], time.Since(start))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
			}
		}
	}
	medians := map[string]time.Duration{}
	for i, c := range contenders {
		slices.Sort(times[i])
		medians[c.name] = times[i][len(times[i])/2]
	}
	return medians, nil
}

// bench holds what is measured. It makes everything once, as a server does: keys are
// parsed, and validators run and have read their store.
type bench struct {
	ctx       context.Context
	key       interop.Key
	peers     []interop.Peer
	issuer    dataplane.Issuer // on a store
	offline   dataplane.Issuer
	validator dataplane.Validator // nothing is revoked
	withList  dataplane.Validator
	tokens    []sample
	warmUp    sample   // not in tokens
	revoked   []string // ids
}

func newBench(tokens int) (*bench, error) {
	rsaKey, err := rsa.GenerateKey(cryptorand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: context.Background(), key: interop.Key{ID: "1", RSA: rsaKey}}
	if b.peers, err = interop.Peers(b.key); err != nil {
		return nil, err
	}
	store, err := b.newStore()
	if err != nil {
		return nil, err
	}
	// The peers do not log, so Meshpass does not either.
	quiet := dataplane.WithLogger(slog.New(slog.DiscardHandler))
	if b.issuer, err = dataplane.NewIssuer(store, quiet); err != nil {
		return nil, err
	}
	private, err := signing.ParsePrivateKey(b.key.PKCS1())
	if err != nil {
		return nil, err
	}
	if b.offline, err = dataplane.NewOfflineIssuer(private, b.key.ID, quiet); err != nil {
		return nil, err
	}
	if b.validator, err = dataplane.NewValidator(store, quiet); err != nil {
		return nil, err
	}
	listStore, err := b.newStore()
	if err != nil {
		return nil, err
	}
	if b.withList, err = dataplane.NewValidator(listStore, quiet); err != nil {
		return nil, err
	}
	for range tokens + 1 {
		text, err := b.issuer.Issue(b.ctx, claims, time.Hour)
		if err != nil {
			return nil, err
		}
		unverified, err := token.ParseUnverified(text.Token)
		if err != nil {
			return nil, err
		}
		b.tokens = append(b.tokens, sample{text.Token, []byte(unverified.SigningInput()), unverified.AppendSignature(nil)})
	}
	b.tokens, b.warmUp = b.tokens[:tokens], b.tokens[tokens]
	return b, b.revoke(listStore)
}

// newStore returns a store with the key.
func (b *bench) newStore() (*keystore.Memory, error) {
	store := keystore.NewMemory()
	_, err := store.Create(b.ctx, keystore.Record{Scope: mesh, Name: "dataplane-token-signing-key-" + mesh + "-1", Data: b.key.PKCS1()})
	return store, err
}

// revoke puts the ids on the list, and waits until the validator refuses a revoked
// token.
func (b *bench) revoke(store keystore.KeyStore) error {
	text, err := b.issuer.Issue(b.ctx, claims, time.Hour)
	if err != nil {
		return err
	}
	verified, err := b.validator.Validate(b.ctx, mesh, text.Token)
	if err != nil {
		return err
	}
	b.revoked = []string{verified.Registered().ID}
	for i := range revoked - 1 {
		b.revoked = append(b.revoked, fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i*7))
	}
	// Not with dataplane.Revoke, which would log an event for each id.
	if _, err := store.Create(b.ctx, keystore.Record{
		Scope: mesh, Name: "dataplane-token-revocations-" + mesh, Data: []byte(strings.Join(b.revoked, ","))}); err != nil {
		return err
	}
	for range 1000 {
		if _, err := b.withList.Validate(b.ctx, mesh, text.Token); errors.Is(err, token.ErrRevoked) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the validator still accepts a revoked token after 10 seconds")
}

func (b *bench) close() {
	_ = b.validator.Close()
	_ = b.withList.Close()
}

// validators returns the contenders that validate, with a list of revoked ids if it is
// not nil. Peers have no such lists, so they look ids up in a map, as a program that
// uses them would do.
func (b *bench) validators(validator dataplane.Validator, revoked map[string]struct{}) []contender {
	check := func(c token.Claims) error {
		if c.Dataplane.Mesh != mesh {
			return errors.New("another mesh")
		}
		if _, found := revoked[c.ID]; found {
			return errors.New("revoked")
		}
		return nil
	}
	contenders := []contender{{ours, func(s sample) error {
		_, err := validator.Validate(b.ctx, mesh, s.text)
		return err
	}}}
	for _, peer := range b.peers {
		contenders = append(contenders, contender{peer.Name, func(s sample) error {
			c, err := peer.Verify(s.text)
			if err != nil {
				return err
			}
			return check(c)
		}})
	}
	return append(contenders, contender{raw, func(s sample) error {
		digest := sha256.Sum256(s.input)
		return rsa.VerifyPKCS1v15(&b.key.RSA.PublicKey, crypto.SHA256, digest[:], s.signature)
	}})
}

// issuers returns the contenders that issue: the same claims with a new id.
func (b *bench) issuers(issuer dataplane.Issuer) []contender {
	contenders := []contender{{ours, func(sample) error {
		_, err := issuer.Issue(b.ctx, claims, time.Hour)
		return err
	}}}
	for _, peer := range b.peers {
		if peer.Sign == nil {
			continue
		}
		contenders = append(contenders, contender{peer.Name, func(sample) error {
			now := time.Now().Truncate(time.Second)
			_, err := peer.Sign(token.Claims{Dataplane: claims, Registered: token.Registered{
				ID:        newID(),
				IssuedAt:  now.Add(-5 * time.Minute),
				NotBefore: now.Add(-5 * time.Minute),
				ExpiresAt: now.Add(time.Hour),
			}})
			return err
		}})
	}
	return append(contenders, contender{raw, func(s sample) error {
		digest := sha256.Sum256(s.input)
		_, err := rsa.SignPKCS1v15(nil, b.key.RSA, crypto.SHA256, digest[:])
		return err
	}})
}

// newID returns a random UUID, as a program that uses a peer would do.
func newID() string {
	var b [16]byte
	cryptorand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
