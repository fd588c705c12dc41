package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// service is what a store and a control plane have in common.
type service interface {
	issuer
	revoked(ctx context.Context, of owner) (revokedIDs, error)
	revoke(ctx context.Context, of owner, ids []string) (revokedIDs, error) // a control plane returns problems alone
	restore(ctx context.Context, of owner, ids []string) error
	makeGlobalList(ctx context.Context, of owner) ([]httpapi.RevocationList, error) // the lists after it
	cutoffs(ctx context.Context, of owner) (cutoffs, error)
	preview(ctx context.Context, of owner, c revocation.Cutoff) (preview, error) // until now if c.Before is zero
	cutOff(ctx context.Context, of owner, c revocation.Cutoff) (inForce revocation.Cutoff, err error)
	removeCutoff(ctx context.Context, of owner, c revocation.Cutoff) error
	prune(ctx context.Context, of owner, lifetime time.Duration, dryRun bool) (revocation.Pruning, error)
	keys(ctx context.Context, of owner) (keyList, error)      // with their public halves
	keyStates(ctx context.Context, of owner) (keyList, error) // with their fingerprints
	addKey(ctx context.Context, of owner, wanted wantedKey) (addedKey, error)
	removeKey(ctx context.Context, of owner, serial signing.Serial, how removal) error
	String() string // its address, without secrets
}

// revokedIDs holds the revoked ids of an owner, sorted, and problems with their list.
type revokedIDs struct {
	ids      []string
	problems []error
	lists    []httpapi.RevocationList // of a mesh; nil if a control plane does not say
}

// keyList holds the keys of an owner, and problems with other records.
type keyList struct {
	keys     []key
	problems []error
}

// key is a signing.Key, a key of a key set, or what a control plane says of a key.
type key struct {
	kid         string
	created     time.Time // zero: not known
	use         string    // "signs", "verifies", or what is wrong
	public      *signing.PublicKey
	bits        int // 0: not known
	fingerprint string
	used        *httpapi.KeyUse // nil: not known
}

// keyUseText describes a key by what it does and where its private half is.
func keyUseText(state, place string, unreadable bool) string {
	text := "verifies"
	switch {
	case state == httpapi.KeySigns && unreadable:
		return "signs, but is unreadable"
	case unreadable:
		return "unreadable"
	case state == httpapi.KeySigns:
		text = "signs"
	case state == httpapi.KeyNext:
		text = "signs after the publish delay"
	}
	switch {
	case place == httpapi.PlaceExternal && text == "verifies":
		return text + ", is in a KMS or HSM"
	case place == httpapi.PlaceExternal:
		return text + ", in a KMS or HSM"
	case place == httpapi.PlaceElsewhere:
		return text + ", public key only"
	}
	return text
}

// wantedKey says which key to add. For a store it has a private or a public key, unless it
// is the first one, which is made. A control plane makes one of so many bits unless it is
// given a public key.
type wantedKey struct {
	first   bool // the first one, if there is none
	bits    int
	private *signing.PrivateKey
	public  *signing.PublicKey
}

// addedKey is a key that was added, or was there.
type addedKey struct {
	kid    string
	added  bool
	oldest string // kid of the oldest key before; empty: none, or not known
}

// removal says when a key is removed.
type removal struct {
	force       bool
	unusedSince time.Time // unless it was used after that; zero: no matter
}

// owner is the mesh, or if mesh is empty, the zones, whose keys and revocations a
// command is about.
type owner struct{ mesh string }

func (o owner) String() string {
	if o.mesh == "" {
		return "the zones"
	}
	return fmt.Sprintf("mesh %q", o.mesh)
}

// tokens names the owner's tokens.
func (o owner) tokens() string {
	if o.mesh == "" {
		return "zone tokens"
	}
	return "dataplane tokens of " + o.String()
}

// flag returns the flag that names the owner.
func (o owner) flag() string {
	if o.mesh == "" {
		return "--zone-tokens"
	}
	return "--mesh " + o.mesh
}

func (o owner) series() signing.Series {
	if o.mesh == "" {
		return signing.ZoneKeys()
	}
	return signing.DataplaneKeys(o.mesh)
}

// kind returns the kind of the owner's tokens, and their scope.
func (o owner) kind() (token.Kind, keystore.Scope) {
	if o.mesh == "" {
		return token.KindZone, keystore.Global
	}
	return token.KindDataplane, keystore.Scope(o.mesh)
}

// list names the record with the owner's revocations. A mesh may have a second one of
// the same name, in the global scope.
func (o owner) list() revocation.Ref {
	if o.mesh == "" {
		return revocation.Zone()
	}
	return revocation.Dataplane(o.mesh)
}

// choice holds the flags that name the owner.
type choice struct {
	mesh  string
	zones bool
}

func (c *choice) flags(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.SortFlags = false
	textFlag(flags, &c.mesh, "mesh", "m", "name", "work on the dataplane tokens of this mesh")
	flags.BoolVar(&c.zones, "zone-tokens", false, "work on zone tokens")
	completes(command, "mesh", cobra.ShellCompDirectiveNoFileComp)
}

func (c *choice) given() bool { return c.mesh != "" || c.zones }

// owner has no default, so that a command never works on the wrong owner.
func (c *choice) owner() (owner, error) {
	switch {
	case c.mesh != "" && c.zones:
		return owner{}, usagef("both --mesh and --zone-tokens are given, want one of them")
	case c.zones:
		return owner{}, nil
	case c.mesh == "":
		return owner{}, usagef("which kind of token? Give --mesh NAME for the dataplane tokens of a mesh, or --zone-tokens")
	}
	if err := keystore.CheckScope(keystore.Scope(c.mesh)); err != nil {
		return owner{}, usagef("--mesh: %w", err)
	}
	return owner{c.mesh}, nil
}

// connecting says how a command connects.
type connecting struct {
	prepare      bool // make a missing folder or tables
	publishDelay time.Duration
}

// connect begins a command, and returns the service that the flags or the environment
// name, and a function that closes it and ends the context.
func (a *app) connect(command *cobra.Command, how connecting) (context.Context, service, func(), error) {
	ctx, cancel, err := a.begin(command)
	if err != nil {
		return nil, nil, nil, err
	}
	to, leave, err := a.reach(ctx, how)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return ctx, to, func() { leave(); cancel() }, nil
}

// connectStore is connect for commands that need a store.
func (a *app) connectStore(command *cobra.Command, what string, how connecting) (context.Context, *storeService, func(), error) {
	ctx, cancel, err := a.begin(command)
	if err != nil {
		return nil, nil, nil, err
	}
	to, leave, err := a.reachStore(ctx, what, how)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return ctx, to, func() { leave(); cancel() }, nil
}

// reach is connect within a context.
func (a *app) reach(ctx context.Context, how connecting) (service, func(), error) {
	where, err := a.where()
	if err != nil {
		return nil, nil, err
	}
	if where.controlPlane != "" {
		if how.publishDelay != 0 {
			return nil, nil, usagef("--publish-delay is for --store: a control plane has its own delay")
		}
		client, err := a.openControlPlane(where.controlPlane)
		return client, func() {}, err
	}
	return a.openStoreService(ctx, where, how)
}

// reachStore is connectStore within a context.
func (a *app) reachStore(ctx context.Context, what string, how connecting) (*storeService, func(), error) {
	where, err := a.where()
	if err != nil {
		return nil, nil, err
	}
	if where.controlPlane != "" {
		return nil, nil, usagef("a control plane cannot %s: use its store, with --store", what)
	}
	return a.openStoreService(ctx, where, how)
}

// place is the name of a store or a control plane.
type place struct {
	store, controlPlane string
	fromEnvironment     bool
}

var errNowhere = &usageError{errors.New("which store or control plane? Give --store URL, such as --store dir:./keys, or --control-plane ADDRESS, such as --control-plane https://localhost:5682" +
	", or set MESHPASS_STORE or MESHPASS_CONTROL_PLANE")}

func (a *app) where() (place, error) {
	store, controlPlane := a.getenv("MESHPASS_STORE"), a.getenv("MESHPASS_CONTROL_PLANE")
	switch {
	case a.store != "" && a.controlPlane != "":
		return place{}, usagef("both --store and --control-plane are given, want one of them")
	case a.store != "":
		return place{store: a.store}, nil
	case a.controlPlane != "":
		return place{controlPlane: a.controlPlane}, nil
	case store != "" && controlPlane != "":
		return place{}, usagef("both MESHPASS_STORE and MESHPASS_CONTROL_PLANE are set: unset one, or give --store or --control-plane")
	case store == "" && controlPlane == "":
		return place{}, errNowhere
	}
	return place{store, controlPlane, true}, nil
}

func (a *app) openStoreService(ctx context.Context, where place, how connecting) (*storeService, func(), error) {
	if a.authTokenFile != "" || a.caCert != "" {
		return nil, nil, usagef("--auth-token-file and --ca-cert are for --control-plane, not for a store")
	}
	if how.publishDelay < 0 {
		return nil, nil, usagef("--publish-delay is negative")
	}
	opened, err := a.openStore(ctx, where, how.prepare)
	if err != nil {
		return nil, nil, err
	}
	s := &storeService{KeyStore: opened.KeyStore, name: opened.name, timeout: a.timeout, publishDelay: how.publishDelay}
	return s, opened.close, nil
}

// storeService works on a store.
type storeService struct {
	keystore.KeyStore
	name         string
	timeout      time.Duration
	publishDelay time.Duration
}

func (s *storeService) String() string { return s.name }

func (s *storeService) IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	issuer, err := dataplane.NewIssuer(s.KeyStore, dataplane.WithPublishDelay(s.publishDelay))
	if err != nil {
		return token.Issued{}, err
	}
	raw, err := issuer.Issue(ctx, claims, validFor)
	return raw, s.explainKey(ctx, err, owner{claims.Mesh})
}

func (s *storeService) IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	issuer, err := zone.NewIssuer(s.KeyStore, zone.WithPublishDelay(s.publishDelay))
	if err != nil {
		return token.Issued{}, err
	}
	raw, err := issuer.Issue(ctx, claims, validFor)
	return raw, s.explainKey(ctx, err, owner{})
}

func (s *storeService) revoked(ctx context.Context, of owner) (revokedIDs, error) {
	if of.mesh == "" {
		list, err := zone.Revoked(ctx, s.KeyStore)
		return revokedIDs{ids: list.IDs(), problems: list.Problems()}, s.explain(err, of)
	}
	lists, err := revocation.LoadDataplaneLists(ctx, s.KeyStore, of.mesh)
	if err != nil {
		return revokedIDs{}, s.explain(err, of)
	}
	all := lists.Union()
	var floor time.Time
	if len(lists) > 1 {
		pruned, _ := s.cutoffs(ctx, of) // else ids that were pruned count as missing
		floor = pruned.floor
	}
	return revokedIDs{all.IDs(), all.Problems(), httpapi.DescribeLists(lists, floor)}, nil
}

func (s *storeService) makeGlobalList(ctx context.Context, of owner) ([]httpapi.RevocationList, error) {
	if err := revocation.MakeDataplaneGlobal(ctx, s.KeyStore, of.mesh); err != nil {
		return nil, s.explain(err, of)
	}
	revoked, err := s.revoked(ctx, of)
	return revoked.lists, err
}

func (s *storeService) revoke(ctx context.Context, of owner, ids []string) (revokedIDs, error) {
	var err error
	if of.mesh == "" {
		err = zone.Revoke(ctx, s.KeyStore, ids[0], ids[1:]...)
	} else {
		err = dataplane.Revoke(ctx, s.KeyStore, of.mesh, ids[0], ids[1:]...)
	}
	if err != nil {
		return revokedIDs{}, s.explain(err, of)
	}
	revoked, err := s.revoked(ctx, of)
	if err != nil { // the ids are revoked all the same
		return revokedIDs{problems: []error{fmt.Errorf("it could not be read again: %w", err)}}, nil
	}
	return revoked, nil
}

func (s *storeService) restore(ctx context.Context, of owner, ids []string) error {
	if of.mesh == "" {
		return s.explain(zone.Restore(ctx, s.KeyStore, ids[0], ids[1:]...), of)
	}
	return s.explain(dataplane.Restore(ctx, s.KeyStore, of.mesh, ids[0], ids[1:]...), of)
}

func (s *storeService) cutoffs(ctx context.Context, of owner) (cutoffs, error) {
	var all cutoffs
	for _, ref := range revocation.CutoffsOf(of.kind()) {
		found, err := ref.Load(ctx, s.KeyStore)
		if err != nil {
			return cutoffs{}, s.explainCutoffs(err, of)
		}
		all.list = append(all.list, found.All()...)
		if found.Floor().After(all.floor) {
			all.floor = found.Floor()
		}
	}
	return all, nil
}

func (s *storeService) preview(ctx context.Context, of owner, c revocation.Cutoff) (preview, error) {
	var err error
	if c.Before.IsZero() {
		kind, scope := of.kind()
		c, err = revocation.UntilNow(ctx, s.KeyStore, kind, scope, c)
	}
	return preview{cutoff: c, sessions: -1}, s.explainCutoffs(err, of)
}

func (s *storeService) prune(ctx context.Context, of owner, lifetime time.Duration, dryRun bool) (p revocation.Pruning, err error) {
	if of.mesh == "" {
		p, err = zone.PruneRevocations(ctx, s.KeyStore, lifetime, dryRun)
	} else {
		p, err = dataplane.PruneRevocations(ctx, s.KeyStore, of.mesh, lifetime, dryRun)
	}
	return p, s.explainCutoffs(err, of)
}

func (s *storeService) cutOff(ctx context.Context, of owner, c revocation.Cutoff) (revocation.Cutoff, error) {
	if of.mesh == "" {
		z, err := zone.CutOff(ctx, s.KeyStore, zoneCutoff(c))
		return revocation.Cutoff{Before: z.Before, Zone: z.Zone, KeyID: z.KeyID}, s.explainCutoffs(err, of)
	}
	d, err := dataplane.CutOff(ctx, s.KeyStore, of.mesh, dataplaneCutoff(c))
	return revocation.Cutoff{Before: d.Before, Name: d.Name, Workload: d.Workload, KeyID: d.KeyID}, s.explainCutoffs(err, of)
}

func (s *storeService) removeCutoff(ctx context.Context, of owner, c revocation.Cutoff) error {
	if of.mesh == "" {
		return s.explainCutoffs(zone.RemoveCutoff(ctx, s.KeyStore, zoneCutoff(c)), of)
	}
	return s.explainCutoffs(dataplane.RemoveCutoff(ctx, s.KeyStore, of.mesh, dataplaneCutoff(c)), of)
}

func zoneCutoff(c revocation.Cutoff) zone.Cutoff {
	return zone.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

func dataplaneCutoff(c revocation.Cutoff) dataplane.Cutoff {
	return dataplane.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}
}

// explainCutoffs is explain for the records with cutoffs.
func (s *storeService) explainCutoffs(err error, of owner) error {
	switch {
	case errors.Is(err, revocation.ErrUnreadable):
		return advise(err, "no token can be checked against it: repair the record, which must hold one JSON object a line, or the list of revoked ids")
	case errors.Is(err, revocation.ErrCutoff):
		return err
	}
	return s.explain(err, of)
}

func (s *storeService) keys(ctx context.Context, of owner) (keyList, error) {
	records, err := s.List(ctx, of.series().Scope(), of.series().Prefix())
	unreadable, err := keystore.SplitUnreadable(err)
	if len(records) == 0 && err == nil { // with the wrong key for a store, or none, no record can be opened
		if closed := keystore.Unreadable(unreadable); errors.Is(closed, sealed.ErrNoKey) || errors.Is(closed, sealed.ErrNotSealed) {
			err = closed
		}
	}
	if err != nil {
		return keyList{}, s.explain(err, of)
	}
	set := of.series().CheckedSet(records, unreadable)
	list := keyList{problems: set.Problems()}
	for _, k := range set.Keys() {
		row := key{kid: k.Serial.KeyID(), created: k.Created, public: k.Public, bits: k.Public.Bits(), fingerprint: k.Public.Fingerprint()}
		state, place := httpapi.KeyVerifies, httpapi.PlaceElsewhere
		if k.Signs {
			state = httpapi.KeySigns
		}
		switch {
		case k.Private:
			place = httpapi.PlaceStore
		case k.External:
			place = httpapi.PlaceExternal
		}
		row.use = keyUseText(state, place, k.Public == nil)
		list.keys = append(list.keys, row)
	}
	return list, nil
}

func (s *storeService) keyStates(ctx context.Context, of owner) (keyList, error) {
	return s.keys(ctx, of)
}

func (s *storeService) addKey(ctx context.Context, of owner, wanted wantedKey) (addedKey, error) {
	before, err := s.keys(ctx, of)
	if err != nil {
		return addedKey{}, err
	}
	var was addedKey // the newest one
	if n := len(before.keys); n > 0 {
		was = addedKey{kid: before.keys[n-1].kid, oldest: before.keys[0].kid}
	}
	var added signing.Key
	switch {
	case wanted.public != nil && wanted.first && was.kid != "":
		return was, nil
	case wanted.public != nil && !wanted.first && was.kid == "":
		err = signing.ErrNoKey // AddExternalKey would make the first one, also of a mistyped mesh
	case wanted.public != nil && of.mesh == "":
		added, err = zone.AddExternalKey(ctx, s.KeyStore, wanted.public)
	case wanted.public != nil:
		added, err = dataplane.AddExternalKey(ctx, s.KeyStore, of.mesh, wanted.public)
	case wanted.first && of.mesh == "":
		added, err = zone.EnsureKey(ctx, s.KeyStore)
	case wanted.first:
		added, err = dataplane.EnsureKey(ctx, s.KeyStore, of.mesh)
	case of.mesh == "":
		added, err = zone.AddKey(ctx, s.KeyStore, wanted.private)
	default:
		added, err = dataplane.AddKey(ctx, s.KeyStore, of.mesh, wanted.private)
	}
	if err != nil {
		return addedKey{}, s.explainKey(ctx, err, of)
	}
	kid := added.Serial.KeyID()
	there := kid == was.kid || wanted.first && was.kid != ""
	return addedKey{kid, !there, was.oldest}, nil
}

func (s *storeService) removeKey(ctx context.Context, of owner, serial signing.Serial, how removal) error {
	if !how.unusedSince.IsZero() {
		return usagef("--unless-used-since is for --control-plane: a store does not know how keys are used")
	}
	if of.mesh == "" {
		options := []zone.RemoveOption{zone.WithPublishDelay(s.publishDelay)}
		if how.force {
			options = append(options, zone.Forced())
		}
		return s.explain(zone.RemoveKey(ctx, s.KeyStore, serial, options...), of)
	}
	options := []dataplane.RemoveOption{dataplane.WithPublishDelay(s.publishDelay)}
	if how.force {
		options = append(options, dataplane.Forced())
	}
	return s.explain(dataplane.RemoveKey(ctx, s.KeyStore, of.mesh, serial, options...), of)
}

// explainKey is explain for commands that need a signing key.
func (s *storeService) explainKey(ctx context.Context, err error, of owner) error {
	if !errors.Is(err, signing.ErrNoKey) {
		return s.explain(err, of)
	}
	if list, listErr := s.keys(ctx, of); listErr == nil && len(list.keys) > 0 {
		return advise(fmt.Errorf("%s has only public keys of %s", s.name, of), "use the store with the private keys, such as that of the global control plane, or make the token offline")
	}
	return advise(fmt.Errorf("there is no signing key for %s in %s", of, s.name), `if the name is right, make the first one with "meshpass keys add --first %s"`, of.flag())
}

// explain adds to an error of the store what to do about it.
func (s *storeService) explain(err error, of owner) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "handshake"):
		return advise(fmt.Errorf("%s: %w", s.name, err), `check that both sides use TLS or neither does, and that they trust each other's authority: "meshpass help stores"`)
	case errors.Is(err, context.DeadlineExceeded):
		return advise(fmt.Errorf("%s did not answer within %s: %w", s.name, s.timeout, err), "check that it runs and can be reached from here, or give it more time with --timeout")
	case errors.Is(err, sealed.ErrNoKey):
		return advise(err, "the records of this store are encrypted: name the key file with --encryption-key-file")
	case errors.Is(err, sealed.ErrNotSealed):
		return advise(err, "if the records of this store are not encrypted, leave out --encryption-key-file")
	case errors.Is(err, signing.ErrNoKey):
		return advise(err, `"meshpass keys list %s" shows the keys`, of.flag())
	case errors.Is(err, signing.ErrNoSigner):
		return advise(err, "have a control plane that has the signer make the token, with --control-plane")
	case errors.Is(err, signing.ErrKey):
		return advise(err, `see "meshpass keys list %s"`, of.flag())
	case errors.Is(err, keystore.ErrReadOnly):
		return advise(err, "use a store that you can write, such as that of the global control plane, or run this as another user")
	case errors.Is(err, revocation.ErrUnreadable):
		return advise(err, "no token can be checked against it: repair the record %q, which must hold ids separated by commas", of.list().Name)
	case errors.Is(err, keystore.ErrUnreadable):
		return advise(err, "make the record readable again: until then no token can be checked against it")
	case errors.Is(err, revocation.ErrID):
		return advise(err, `"meshpass inspect" shows the id of a token`)
	case errors.Is(err, keystore.ErrName), errors.Is(err, keystore.ErrTooLarge), errors.Is(err, keystore.ErrExists),
		errors.Is(err, token.ErrNotIssuable), errors.Is(err, signing.ErrInUse):
		return err
	}
	return advise(fmt.Errorf("%s: %w", s.name, err), `check that the store exists and that you may use it; for a new one, "meshpass keys add --first" makes what is missing`)
}
