package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// KeyState is a key of a mesh, or of the zones, in the store of a server. It holds no
// part of a private key.
type KeyState struct {
	KeyID       string    `json:"kid"`                   // the serial in decimal
	Created     time.Time `json:"created,omitzero"`      // when the store created its record; zero if that is not known
	Bits        int       `json:"bits,omitempty"`        // of the modulus; 0 if the key cannot be read
	Fingerprint string    `json:"fingerprint,omitempty"` // see signing.PublicKey; empty if the key cannot be read
	State       string    `json:"state"`                 // KeySigns, KeyNext or KeyVerifies
	Place       string    `json:"place"`                 // of the private half: PlaceStore, PlaceExternal or PlaceElsewhere
	Problem     string    `json:"problem,omitempty"`     // why the key cannot be read; empty if it can

	// Use is how the process of the server has used the key. It is nil if the server does
	// not know, and after a change.
	Use *KeyUse `json:"use,omitempty"`
}

// The states of a key.
const (
	KeySigns    = "signs"    // if it cannot be read, nothing is signed
	KeyNext     = "next"     // it signs when it is older than the publish delay
	KeyVerifies = "verifies" // it only verifies
)

// The places of the private half of a key.
const (
	PlaceStore     = "store"     // in the store of the server
	PlaceExternal  = "external"  // in a KMS or HSM
	PlaceElsewhere = "elsewhere" // in another store: this one has a copy of the public half
)

// KeyUse is how the process of a server has used a key since its validators were made.
type KeyUse struct {
	Validations uint64    `json:"validations"`       // accepted tokens
	LastUsed    time.Time `json:"lastUsed,omitzero"` // when the last one was accepted
	Sessions    int       `json:"sessions"`          // open ones
}

// wireKeys is the answer to ListKeys.
type wireKeys struct {
	Keys     []KeyState `json:"keys"`
	Problems []string   `json:"problems,omitempty"` // of records
}

// wireNewKey is a request to create or add a key.
type wireNewKey struct {
	Bits   int    `json:"bits,omitempty"`
	Public string `json:"public,omitempty"` // PEM
}

// wireKey is the answer.
type wireKey struct {
	KeyState
	Added bool `json:"added"` // false if the key was there before the request
}

// wireRemoval is a request to remove a key.
type wireRemoval struct {
	KeyID           string `json:"kid"`
	Force           bool   `json:"force,omitempty"`
	UnlessUsedSince string `json:"unlessUsedSince,omitempty"` // as in RFC 3339
}

// WithPublishDelay tells the handler the publish delay of the issuers. It decides which
// key signs, and so which key is listed as signing and which may be removed: see
// dataplane.WithPublishDelay. The default is none.
func WithPublishDelay(delay time.Duration) Option {
	return func(h *handler) error {
		if delay < 0 {
			return fmt.Errorf("WithPublishDelay: %s is negative", delay)
		}
		h.publishDelay = delay
		return nil
	}
}

func (r Request) aboutKeys() bool {
	return r.Action == ListKeys || r.Action == CreateKey || r.Action == AddKey || r.Action == RemoveKey
}

func (r Request) series() signing.Series {
	if r.Kind == token.KindDataplane {
		return signing.DataplaneKeys(r.Mesh)
	}
	return signing.ZoneKeys()
}

// keySizes are the sizes of a key that the handler makes, in bits.
var keySizes = []int{2048, 3072, 4096}

// readNewKey reads and checks a request to create or add a key.
func readNewKey(w http.ResponseWriter, r *http.Request, what *Request) error {
	var public string
	var set jwk
	fields := []field{{"public", &public}, {"jwk", &set}}
	if what.Action == AddKey {
		fields = append([]field{{"bits", &what.Bits}}, fields...)
	}
	if err := readBody(w, r, maxTokenRequest, fields); err != nil {
		return err
	}
	var bad faults
	var err error
	switch {
	case public != "" && set != (jwk{}):
		bad.add("jwk", "is there beside public, want one of them")
	case what.Bits != 0 && (public != "" || set != (jwk{})):
		bad.add("bits", "is the size of a new key: leave it out beside a public key")
	case public != "":
		if what.PublicKey, err = signing.ParsePublicKey([]byte(public)); err != nil {
			bad.add("public", "%w", err)
		}
	case set != (jwk{}):
		switch {
		case set.KeyType != "RSA":
			bad.add("jwk.kty", "want RSA")
		case set.Use != "" && set.Use != "sig":
			bad.add("jwk.use", "want sig")
		case set.Algorithm != "" && set.Algorithm != "RS256":
			bad.add("jwk.alg", "want RS256")
		default:
			if what.PublicKey, err = set.publicKey(); err != nil {
				bad.add("jwk", "%w", err)
			}
		}
	case what.Action == AddKey && what.Bits == 0:
		what.Bits = signing.DefaultBits
	case what.Action == AddKey && !slices.Contains(keySizes, what.Bits):
		bad.add("bits", "is %d, want 2048, 3072 or 4096", what.Bits)
	}
	return bad.err()
}

// readKeyRemoval reads and checks a request to remove a key.
func (h *handler) readKeyRemoval(w http.ResponseWriter, r *http.Request, what *Request) error {
	var since string
	if err := readBody(w, r, maxTokenRequest, []field{{"kid", &what.KeyID}, {"force", &what.Force}, {"unlessUsedSince", &since}}); err != nil {
		return err
	}
	var bad faults
	if _, ok := signing.ParseSerial(what.KeyID); !ok {
		bad.add("kid", `is not the serial of a key in the store, want one such as "1"`)
		what.KeyID = ""
	}
	if since == "" {
		return bad.err()
	}
	_, err := revocation.ParseMoment(since) // which is stricter than time.Parse, but rounds
	if err == nil {
		what.UnlessUsedSince, err = time.Parse(time.RFC3339, since)
	}
	switch {
	case err != nil:
		bad.add("unlessUsedSince", "is not a time as in RFC 3339, such as 2026-11-29T10:00:00Z")
	case what.UnlessUsedSince.After(time.Now().Add(token.Skew)):
		bad.add("unlessUsedSince", "is ahead")
	case what.Force:
		bad.add("unlessUsedSince", "is there beside force, want one of them")
	case !h.knowsUse(what.Kind):
		bad.add("unlessUsedSince", "cannot be answered: this server does not know how keys are used")
	}
	what.UnlessUsedSince = what.UnlessUsedSince.UTC()
	return bad.err()
}

func (h *handler) knowsUse(kind token.Kind) bool {
	if kind == token.KindDataplane {
		return len(h.validators) > 0
	}
	return len(h.zoneValidators) > 0
}

// use returns how the process has used a key, or nil if that is not known.
func (h *handler) use(what Request, kid string) *KeyUse {
	if !h.knowsUse(what.Kind) {
		return nil
	}
	var all KeyUse
	add := func(validations uint64, last time.Time, sessions int) {
		all.Validations += validations
		all.Sessions += sessions
		if last.After(all.LastUsed) {
			all.LastUsed = last.UTC()
		}
	}
	if what.Kind == token.KindZone {
		for _, use := range h.zoneUses() {
			if use.KeyID == kid {
				add(use.Validations, use.LastUsed, use.Sessions)
			}
		}
		return &all
	}
	for _, use := range h.dataplaneUses() {
		if use.Mesh == what.Mesh && use.KeyID == kid {
			add(use.Validations, use.LastUsed, use.Sessions)
		}
	}
	return &all
}

func (h *handler) dataplaneUses() (uses []dataplane.KeyUse) {
	for _, v := range h.validators {
		uses = append(uses, v.Usage()...)
	}
	return uses
}

func (h *handler) zoneUses() (uses []zone.KeyUse) {
	for _, v := range h.zoneValidators {
		uses = append(uses, v.Usage()...)
	}
	return uses
}

// keysNow is one read of the keys of a mesh or of the zones, by serial.
type keysNow struct {
	keys     []signing.Key
	signs    signing.Serial // -1: none
	problems []error
}

func (h *handler) readKeys(ctx context.Context, what Request) (keysNow, error) {
	series := what.series()
	records, err := h.store.List(ctx, series.Scope(), series.Prefix())
	unreadable, err := keystore.SplitUnreadable(err)
	if err != nil {
		return keysNow{}, fmt.Errorf("reading the keys: %w", err)
	}
	set := series.PublicSet(records, unreadable, nil)
	now := keysNow{keys: set.Keys(), problems: set.Problems()}
	var published time.Time
	if h.publishDelay > 0 {
		published = time.Now().Add(-h.publishDelay)
	}
	_, now.signs, err = series.Signing(records, unreadable, published)
	if errors.Is(err, signing.ErrNoKey) {
		now.signs = -1
	}
	return now, nil
}

func (k keysNow) find(is func(signing.Key) bool) (signing.Key, bool) {
	at := slices.IndexFunc(k.keys, is)
	if at < 0 {
		return signing.Key{}, false
	}
	return k.keys[at], true
}

// isNewest reports whether a key is the newest of a store that adds keys.
func (k keysNow) isNewest(serial signing.Serial) bool {
	_, adds := k.find(func(key signing.Key) bool { return key.Signs })
	return adds && k.keys[len(k.keys)-1].Serial <= serial
}

// state describes a key.
func (k keysNow) state(key signing.Key) KeyState {
	s := KeyState{KeyID: key.Serial.KeyID(), Created: key.Created.UTC(), State: KeyVerifies, Place: PlaceElsewhere}
	switch {
	case key.Private:
		s.Place = PlaceStore
	case key.External:
		s.Place = PlaceExternal
	}
	switch {
	case key.Serial == k.signs:
		s.State = KeySigns
	case s.Place != PlaceElsewhere && key.Serial > k.signs:
		s.State = KeyNext
	}
	if key.Public == nil {
		s.Problem = tellable(key.Err)
	} else {
		s.Bits, s.Fingerprint = key.Public.Bits(), key.Public.Fingerprint()
	}
	return s
}

// tellable describes a faulty record of a key. Errors of package signing hold no part of
// a key, but the reason of a store may name its hosts and files.
func tellable(err error) string {
	var of *keystore.Error
	if errors.As(err, &of) {
		return fmt.Sprintf("record %.256q: the store cannot read it; the log of the server says why", of.Name)
	}
	return err.Error()
}

func (h *handler) listKeys(ctx context.Context, w http.ResponseWriter, what Request) error {
	now, err := h.readKeys(ctx, what)
	if err != nil {
		return err
	}
	answer := wireKeys{Keys: []KeyState{}}
	for _, key := range now.keys {
		state := now.state(key)
		state.Use = h.use(what, state.KeyID)
		answer.Keys = append(answer.Keys, state)
	}
	for _, problem := range now.problems {
		answer.Problems = append(answer.Problems, tellable(problem))
	}
	if len(now.problems) > 0 {
		h.log.WarnContext(ctx, "key records with faults", slog.String("kind", string(what.Kind)), slog.String("mesh", what.Mesh),
			slog.String("problems", text(now.problems)))
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(answer)) // fails only if the client is gone
	return nil
}

// addKey creates the first key or adds the next one, and answers with it.
func (h *handler) addKey(ctx context.Context, w http.ResponseWriter, what Request) error {
	before, err := h.readKeys(ctx, what)
	if err != nil {
		return h.notDone(ctx, what, err)
	}
	answer, there, err := before.present(what)
	if err != nil {
		return h.notDone(ctx, what, err)
	}
	if !there {
		added, err := h.makeKey(ctx, what)
		if errors.Is(err, signing.ErrNoKey) || errors.Is(err, signing.ErrKey) || raced(err) { // the other errors are events already
			return h.notDone(ctx, what, err)
		}
		if err != nil {
			return err
		}
		if h.publishDelay == 0 || before.signs < 0 {
			before.signs = added.Serial
		}
		answer = wireKey{before.state(added), true}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(answer)) // fails only if the client is gone
	return nil
}

var errPublicOnly = newAnswer(http.StatusNotFound, titleNoKey, "the store of the server holds only public keys: make keys where the private ones are")

// present returns the key that a request would make, if it is there.
func (k keysNow) present(what Request) (answer wireKey, there bool, err error) {
	newest, some := k.find(func(key signing.Key) bool { return key.Signs })
	switch {
	case what.Action == CreateKey && some && newest.Public == nil:
		return wireKey{}, false, newest.Err
	case what.Action == CreateKey && some:
		return wireKey{KeyState: k.state(newest)}, true, nil
	case !some && len(k.keys) > 0:
		return wireKey{}, false, errPublicOnly
	case what.Action == AddKey && len(k.keys) == 0:
		return wireKey{}, false, signing.ErrNoKey // AddExternalKey would make the first one, also of a mistyped mesh
	}
	same, found := k.find(func(key signing.Key) bool { return what.PublicKey.Equal(key.Public) })
	switch {
	case found && same.External && same.Signs:
		return wireKey{KeyState: k.state(same)}, true, nil
	case found:
		return wireKey{}, false, newAnswer(http.StatusConflict, titleKeyPresent, "it is key "+same.Serial.KeyID()+" already, and a key gets one serial: make a new one")
	}
	return wireKey{}, false, nil
}

// makeKey makes the key that a request asks for.
func (h *handler) makeKey(ctx context.Context, what Request) (signing.Key, error) {
	of := what.Kind == token.KindDataplane
	switch {
	case what.PublicKey != nil && of:
		return dataplane.AddExternalKey(ctx, h.store, what.Mesh, what.PublicKey)
	case what.PublicKey != nil:
		return zone.AddExternalKey(ctx, h.store, what.PublicKey)
	case what.Action == CreateKey && of:
		return dataplane.EnsureKey(ctx, h.store, what.Mesh)
	case what.Action == CreateKey:
		return zone.EnsureKey(ctx, h.store)
	}
	private, err := signing.Generate(what.Bits)
	if err != nil {
		return signing.Key{}, err
	}
	if of {
		return dataplane.AddKey(ctx, h.store, what.Mesh, private)
	}
	return zone.AddKey(ctx, h.store, private)
}

// raced reports whether another caller added a key at the same time.
func raced(err error) bool {
	return errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken)
}

// notDone makes an audit event of an error that packages dataplane and zone do not log.
func (h *handler) notDone(ctx context.Context, what Request, err error) error {
	h.logRefused(ctx, what, err)
	return err
}

// removeKey removes a key. Without force, a key whose tokens have open sessions in this
// process stays too, as far as that is known.
func (h *handler) removeKey(ctx context.Context, w http.ResponseWriter, what Request) error {
	serial, _ := signing.ParseSerial(what.KeyID)
	before, err := h.readKeys(ctx, what)
	if err != nil {
		return h.notDone(ctx, what, err)
	}
	after := what.UnlessUsedSince
	if after.IsZero() { // sessions alone count
		after = time.Now()
	}
	if what.Kind == token.KindDataplane {
		options := []dataplane.RemoveOption{dataplane.WithPublishDelay(h.publishDelay), dataplane.UnlessUsed(after, h.dataplaneUses()...)}
		if what.Force {
			options = append(options, dataplane.Forced())
		}
		err = dataplane.RemoveKey(ctx, h.store, what.Mesh, serial, options...)
	} else {
		options := []zone.RemoveOption{zone.WithPublishDelay(h.publishDelay), zone.UnlessUsed(after, h.zoneUses()...)}
		if what.Force {
			options = append(options, zone.Forced())
		}
		err = zone.RemoveKey(ctx, h.store, serial, options...)
	}
	switch {
	case errors.Is(err, signing.ErrNoKey):
		return h.notDone(ctx, what, err)
	case errors.Is(err, signing.ErrInUse) && before.isNewest(serial):
		return newAnswer(http.StatusConflict, titleKeyNewest, "so that no serial is given twice: add the next key first")
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// answerAboutKeys is answerTo for the actions on keys.
func answerAboutKeys(what Request, err error) *answer {
	switch {
	case errors.Is(err, signing.ErrInUse):
		return newAnswer(http.StatusConflict, titleKeyInUse, err.Error())
	case errors.Is(err, signing.ErrNoKey):
		return noKey(what)
	case errors.Is(err, keystore.ErrReadOnly):
		return newAnswer(http.StatusConflict, titleReadOnly, "change keys where the store can be written")
	case raced(err):
		return newAnswer(http.StatusConflict, titleKeyRaced, "another caller added a key at the same time: list the keys, and ask again if you want one more")
	case errors.Is(err, keystore.ErrName):
		return invalid(InvalidParameter{"mesh", "is not a name that the store accepts"}).(*answer)
	case errors.Is(err, signing.ErrKey):
		return newAnswer(http.StatusInternalServerError, titleKeyUnusable, "an operator must repair the record of the newest key, or add the next one")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, keystore.ErrNameTaken), errors.Is(err, keystore.ErrTooLarge), errors.Is(err, keystore.ErrUnreadable):
		return newAnswer(http.StatusInternalServerError, "Internal Server Error", "the server cannot use a record of its store")
	}
	return unavailable()
}

// KeyStatesDataplane lists the keys of a mesh by serial, also those that the server cannot
// read, and the problems of their records. A mesh without keys, or an unknown one, has an
// empty list.
func (c *Client) KeyStatesDataplane(ctx context.Context, mesh string) (keys []KeyState, problems []string, err error) {
	return c.keyStates(ctx, ofMesh(mesh))
}

// KeyStatesZone lists the keys of zone tokens, as KeyStatesDataplane does for a mesh.
func (c *Client) KeyStatesZone(ctx context.Context) (keys []KeyState, problems []string, err error) {
	return c.keyStates(ctx, ofZones())
}

// CreateKeyDataplane makes the first key of a mesh, as dataplane.EnsureKey does. If
// external is not nil, that is the first key: its private half is in a KMS or HSM. If the
// mesh has a key that signs, CreateKeyDataplane returns the newest one, and created is
// false.
func (c *Client) CreateKeyDataplane(ctx context.Context, mesh string, external *signing.PublicKey) (key KeyState, created bool, err error) {
	return c.createKey(ctx, ofMesh(mesh), external)
}

// CreateKeyZone makes the first key of zone tokens, as CreateKeyDataplane does for a mesh.
func (c *Client) CreateKeyZone(ctx context.Context, external *signing.PublicKey) (key KeyState, created bool, err error) {
	return c.createKey(ctx, ofZones(), external)
}

// AddKeyDataplane has the server make a key under the mesh's next serial, as
// dataplane.AddKey does. bits is 2048, 3072 or 4096; 0 means signing.DefaultBits. The
// private half does not leave the server.
//
// The error matches signing.ErrNoKey if the mesh has no signing key yet or the server's
// store holds only public keys, and keystore.ErrExists if another caller added a key at
// the same time.
func (c *Client) AddKeyDataplane(ctx context.Context, mesh string, bits int) (KeyState, error) {
	return c.addKey(ctx, ofMesh(mesh), bits)
}

// AddKeyZone adds a key for zone tokens, as AddKeyDataplane does for a mesh.
func (c *Client) AddKeyZone(ctx context.Context, bits int) (KeyState, error) {
	return c.addKey(ctx, ofZones(), bits)
}

// AddExternalKeyDataplane adds a key in a KMS or HSM under the mesh's next serial, as
// dataplane.AddExternalKey does, but not as the first key: that is CreateKeyDataplane. If
// the newest key is this one already, added is false. If it is an older key, the error
// matches signing.ErrKey; for other errors see AddKeyDataplane.
func (c *Client) AddExternalKeyDataplane(ctx context.Context, mesh string, external *signing.PublicKey) (key KeyState, added bool, err error) {
	return c.addExternalKey(ctx, ofMesh(mesh), external)
}

// AddExternalKeyZone adds a key for zone tokens, as AddExternalKeyDataplane does for a mesh.
func (c *Client) AddExternalKeyZone(ctx context.Context, external *signing.PublicKey) (key KeyState, added bool, err error) {
	return c.addExternalKey(ctx, ofZones(), external)
}

// A KeyRemoval says when a key is removed. The zero value refuses a key that signs, and one
// with open sessions in the process of the server, if the server knows them.
type KeyRemoval struct {
	// Force removes the key even if it signs or is in use.
	Force bool

	// UnlessUsedSince, if it is not zero, also refuses a key of which the process of the
	// server accepted a token after this time. The server answers 400 if it does not know
	// how keys are used. Other processes are not asked.
	UnlessUsedSince time.Time
}

// RemoveKeyDataplane removes a key of a mesh, as dataplane.RemoveKey does: its tokens are
// refused, and their sessions end. The error matches signing.ErrInUse if the key is the
// newest one, which is never removed, or if it signs or is in use; and signing.ErrNoKey if
// there is no such key.
func (c *Client) RemoveKeyDataplane(ctx context.Context, mesh string, serial signing.Serial, how KeyRemoval) error {
	return c.removeKey(ctx, ofMesh(mesh), serial, how)
}

// RemoveKeyZone removes a key of zone tokens, as RemoveKeyDataplane does for a mesh.
func (c *Client) RemoveKeyZone(ctx context.Context, serial signing.Serial, how KeyRemoval) error {
	return c.removeKey(ctx, ofZones(), serial, how)
}

func (c *Client) keyStates(ctx context.Context, of owner) ([]KeyState, []string, error) {
	if of.err != nil {
		return nil, nil, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/keys"+of.path, nil, promise{http.StatusOK, []string{"application/json"}, maxKeysAnswer})
	if err != nil {
		return nil, nil, err
	}
	var answer wireKeys
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, nil, unusable("%v", err)
	}
	if answer.Keys == nil { // a missing list is not an empty list
		return nil, nil, unusable("the field keys is missing")
	}
	last := signing.Serial(-1)
	for i := range answer.Keys {
		serial, err := answer.Keys[i].check()
		if err != nil {
			return nil, nil, unusable("keys[%d]: %w", i, err)
		}
		if serial <= last {
			return nil, nil, unusable("keys[%d] is not in the order of the serials", i)
		}
		last = serial
	}
	for i := range answer.Problems {
		answer.Problems[i] = inASCII(answer.Problems[i])
	}
	return answer.Keys, answer.Problems, nil
}

// check returns an error for what is not a key, and makes its texts printable.
func (s *KeyState) check() (signing.Serial, error) {
	serial, ok := signing.ParseSerial(s.KeyID)
	switch {
	case !ok:
		return 0, errors.New("its kid is not a serial")
	case !slices.Contains([]string{KeySigns, KeyNext, KeyVerifies}, s.State):
		return 0, errors.New("its state is unknown")
	case !slices.Contains([]string{PlaceStore, PlaceExternal, PlaceElsewhere}, s.Place):
		return 0, errors.New("its place is unknown")
	case (s.Problem == "") != (s.Bits >= signing.MinBits && s.Bits <= signing.MaxBits && s.Fingerprint != ""):
		return 0, errors.New("it is neither a key nor a problem")
	case s.Use != nil && s.Use.Sessions < 0:
		return 0, errors.New("its number of sessions is negative")
	}
	s.Fingerprint, s.Problem = inASCII(s.Fingerprint), inASCII(s.Problem)
	return serial, nil
}

func (c *Client) createKey(ctx context.Context, of owner, external *signing.PublicKey) (KeyState, bool, error) {
	answer, err := c.postKey(ctx, of, firstPath, wireNewKey{Public: string(external.PEM())})
	switch {
	case err != nil:
		return KeyState{}, false, err
	case answer.Added && answer.KeyID != "1":
		return KeyState{}, false, unusable("the first key is not key 1")
	case answer.Added && external != nil && (answer.Place != PlaceExternal || answer.Fingerprint != external.Fingerprint()),
		answer.Added && external == nil && (answer.Place != PlaceStore || answer.Bits != signing.DefaultBits):
		return KeyState{}, false, errOtherKey
	}
	return answer.KeyState, answer.Added, nil
}

var errOtherKey = unusable("it is about another key than was asked for")

func (c *Client) addKey(ctx context.Context, of owner, bits int) (KeyState, error) {
	if bits == 0 {
		bits = signing.DefaultBits
	}
	answer, err := c.postKey(ctx, of, "", wireNewKey{Bits: bits})
	switch {
	case err != nil:
		return KeyState{}, err
	case !answer.Added:
		return KeyState{}, unusable("it does not say that a key was added")
	case answer.Place != PlaceStore || answer.Bits != bits:
		return KeyState{}, errOtherKey
	}
	return answer.KeyState, nil
}

func (c *Client) addExternalKey(ctx context.Context, of owner, external *signing.PublicKey) (KeyState, bool, error) {
	if external.Bits() == 0 {
		return KeyState{}, false, errors.New("httpapi: the external key is nil")
	}
	answer, err := c.postKey(ctx, of, "", wireNewKey{Public: string(external.PEM())})
	switch {
	case err != nil:
		return KeyState{}, false, err
	case answer.Place != PlaceExternal || answer.Fingerprint != external.Fingerprint():
		return KeyState{}, false, errOtherKey
	}
	return answer.KeyState, answer.Added, nil
}

func (c *Client) postKey(ctx context.Context, of owner, ending string, request wireNewKey) (answer wireKey, err error) {
	if of.err != nil {
		return wireKey{}, of.err
	}
	data, err := c.do(ctx, http.MethodPost, "/keys"+of.path+ending, request, promise{http.StatusOK, []string{"application/json"}, maxTokenRequest})
	if err != nil {
		return wireKey{}, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return wireKey{}, unusable("%v", err)
	}
	if _, err := answer.check(); err != nil {
		return wireKey{}, unusable("%w", err)
	}
	if answer.Problem != "" {
		return wireKey{}, unusable("it is about a key that cannot be read")
	}
	return answer, nil
}

func (c *Client) removeKey(ctx context.Context, of owner, serial signing.Serial, how KeyRemoval) error {
	if of.err != nil {
		return of.err
	}
	request := wireRemoval{KeyID: serial.KeyID(), Force: how.Force}
	if !how.UnlessUsedSince.IsZero() {
		request.UnlessUsedSince = how.UnlessUsedSince.UTC().Format(time.RFC3339Nano)
	}
	_, err := c.do(ctx, http.MethodPost, "/keys"+of.path+removePath, request, promise{status: http.StatusNoContent})
	return err
}
