// Package httpapi serves tokens, revocation lists, cutoffs and keys over HTTP, and is a
// client for them. Of a key only the public half leaves the server or is taken by it.
//
//	POST   /tokens/dataplane               {"name","mesh","tags","type","workload","validFor"}
//	POST   /tokens/zone                    {"zone","scope","validFor"}
//	POST   /tokens/dataplane/renew         {"validFor"}, renews the token in the header Authorization, see [WithRenewal]
//	POST   /tokens/zone/renew              the same for a zone token
//	GET    /revocations/dataplane/{mesh}   {"ids":["..."],"lists":[{"scope","name","count","missing"}]}
//	POST   /revocations/dataplane/{mesh}   {"ids":["..."]}, revokes
//	POST   /revocations/dataplane/{mesh}/restore   {"ids":["..."]}, restores
//	DELETE /revocations/dataplane/{mesh}   {"ids":["..."]}, restores too; some proxies drop its body
//	POST   /revocations/dataplane/{mesh}/lists     {"scope":"global"}, makes the list that Kuma reads
//	POST   /revocations/dataplane/{mesh}/prune     {"lifetime","dryRun"}, drops the ids of expired tokens
//	GET    /revocations/zone               and the others, the same for zone tokens
//	GET    /cutoffs/dataplane/{mesh}       {"cutoffs":[{"before","name","workload","kid"}],"idsBefore"}
//	POST   /cutoffs/dataplane/{mesh}       {"before","name","dryRun"}, revokes what was issued before; also workload, kid, or none
//	POST   /cutoffs/dataplane/{mesh}/remove        {"before","name"}, removes the cutoff
//	GET    /cutoffs/zone                   and the others, the same for zone tokens, with zone or kid
//	GET    /keys/dataplane/{mesh}          {"keys":[{"kid","created","bits","fingerprint","state","place","problem","use"}],"problems"}
//	POST   /keys/dataplane/{mesh}          {"bits"}, makes the next key; or {"public"} or {"jwk"}, a key in a KMS or HSM
//	POST   /keys/dataplane/{mesh}/first    {}, makes the first key; or {"public"} or {"jwk"}
//	POST   /keys/dataplane/{mesh}/remove   {"kid","force","unlessUsedSince"}, removes a key
//	GET    /keys/zone                      and the others, the same for zone tokens
//	GET    /jwks/dataplane/{mesh}          the mesh's public keys
//	GET    /jwks/zone                      the public keys of zone tokens
//	GET    /                               the product, see [WithIndex]
//
// The two token endpoints take the same requests as Kuma's, and answer in the same
// form, so that kumactl and kongctl work with them, and [Client] can ask a Kuma control
// plane for tokens. As in Kuma, their paths may end with a slash. What the versions of
// Kuma do differently is an option: see [WithRules].
//
// # A server
//
// [New] needs a store, the two issuers, and an [Authorizer]: your function that
// decides who may do what. There is no default.
//
//	api, err := httpapi.New(store, dataplanes, zones, func(r *http.Request, what httpapi.Request) (string, error) {
//		user, ok := authenticated(r)
//		if !ok {
//			return "", httpapi.ErrUnauthenticated
//		}
//		if what.Action == httpapi.Issue && what.Mesh != user.Mesh {
//			return user.Name, httpapi.Denied("you may issue tokens for mesh " + user.Mesh)
//		}
//		return user.Name, nil
//	})
//	server := &http.Server{Handler: api, TLSConfig: tlsConfig, ReadTimeout: 10 * time.Second}
//
// Tokens are bearer credentials: serve over TLS. Set timeouts of connections, and a
// limit on concurrent requests if you want one, on the http.Server. The handler reads
// at most 64 KiB of a request for a token and 1 MiB of a request about a revocation
// list, and gives the authoriser and the store 10 seconds. To serve under a prefix,
// use http.StripPrefix.
//
// # Requests
//
// A body is one JSON object, of content type application/json and not
// compressed. The content type may have parameters; a charset must be UTF-8. The handler refuses names that are unknown, in another case or
// duplicate, values of another type, text that is not UTF-8, and text after the
// object. Null and the empty string stand for an absent field. validFor is a duration
// as Go writes it ("24h", "1h30m"), of at least one second. If it is absent, the token
// is valid for 10 years (87600h), as in Kuma. A name with which no token is issued
// (see token.CheckName) is an invalid parameter.
//
// The type of a dataplane token is "dataplane" or absent; [WithRules] allows others. A
// request for a zone token without a scope is one for scope "cp", and the authoriser sees
// it so; under [WithRules] it may be refused. An empty list of scopes is always refused:
// its token would open nothing.
//
// A request to renew a token has the token in the header Authorization, bare or after
// "Bearer", and nothing else authenticates it. It may have no body; without validFor the new
// token is valid for as long as the old one was, or for the issuer's maximum if that is
// shorter; it may be longer only if the issuer has a maximum. A token is renewed for the mesh, or the zone and
// the scopes, that it names. The authoriser sees its claims, after the token was
// validated. See dataplane.Issuer.Renew for what is renewed.
//
// The revoked ids of a mesh are those on the list in the scope of the mesh and on the
// list in the global scope. A change is made to each of the two that exists: see
// revocation.AddDataplane. Kuma reads the global list alone; POST to .../lists makes it:
// see revocation.MakeDataplaneGlobal. The answers to that and to GET say where each list
// of the mesh is, as a [RevocationList].
//
// A cutoff has before, a time as in RFC 3339, and at most one of name, workload, zone and
// kid, which must not be empty or null: without one it is for all tokens. To add one that revokes what was issued until now, before is "now": see
// dataplane.UntilNow. The answer to adding one is the cutoff that is in force for the same
// tokens: that one, or a later one. A cutoff more than four minutes ahead of the server's
// clock is refused. How many tokens a removed cutoff makes valid again is not known. In the
// answer to GET, idsBefore is there if the list was pruned: see revocation.Prune.
//
// With dryRun true, adding a cutoff changes nothing. The answer is the cutoff, dryRun,
// sessions, the number of open sessions that it would end, and keys, the uses of the keys
// whose tokens it is for: see dataplane.Affected. sessions and keys are those of this
// process, and absent without [WithDataplaneValidators] or [WithZoneValidators].
//
// To prune a list, lifetime is the longest validity of any token, or the limit of lineages
// where tokens are renewed, a duration as Go writes it. The answer is {"idsBefore","dropped","kept","dryRun","sessions"}: the floor, the
// numbers of ids, and in a dry run with validators the number of open sessions whose tokens
// the floor would revoke. If there are any, the lifetime is too short.
//
// # Keys
//
// Each of the four requests is an action of its own: [ListKeys], [CreateKey], [AddKey] and
// [RemoveKey]. The answer to GET describes each key as a [KeyState]. use is absent without
// [WithDataplaneValidators] or [WithZoneValidators]. If the issuers have a publish delay,
// give it to [WithPublishDelay] too.
//
// The server makes a key of 2048 bits, or of 3072 or 4096 bits if the request says so. It
// takes a key in a KMS or HSM by its public half: public is PEM as signing.ParsePublicKey
// reads it, and jwk a JSON Web Key (RFC 7517) of type RSA, whose kid has no meaning here. A
// request with a private key is refused, and is neither kept nor logged. The answer is the
// [KeyState] of the key, and "added":false if it was there before the request. Only .../first
// makes the first key of a mesh, and only if there is none. Of two requests to add a key at
// the same time, one may get 409.
//
// The newest key is never removed: see dataplane.RemoveKey. Without force, a key that signs
// is not removed, nor one with open sessions in this process, nor one of which this process
// accepted a token after unlessUsedSince, a time as in RFC 3339. Other processes are not
// asked. All keys together are removed in the store only: see dataplane.RemoveAllKeys.
//
// # Answers
//
// The answer to a request for a token, or to renew one, is 200 with the bare token as
// text/plain, to a change of a revocation list or the removal of a cutoff or a key 204, and
// to a read, a new list, pruning, a new cutoff or a new key 200 with JSON. Only public keys
// may be cached. If a revocation list has problems, such as items in another form, the answers
// about it name them in [ProblemHeader], and the answer to GET has them in its body too:
// {"ids":["..."],"problems":["..."]}. Every error has the form of [Error], in which the
// clients of Kuma read it; its title says what happened:
//
//	400 Invalid request              the body or a field is not acceptable: see invalid_parameters
//	400 Could not issue a token      issuing is switched off, or the issuer's limits forbid the token
//	400 Could not renew the token    its lineage is over, or it has none: issue a new token
//	401 Unauthenticated              the authoriser does not know the client, or the token to renew is not good
//	403 Access Denied                the authoriser or the issuer's policy does not allow it
//	404 Signing Key not found        the mesh, or the zones, have no key, or none with that kid
//	404 Not Found                    there is no such path
//	405 Method not Allowed           Allow lists the methods
//	409 Store is read-only           change it elsewhere, such as on the global control plane
//	409 Name of the list is taken    the store has each name once, and the mesh has a list of its own
//	409 Cutoffs are too far ahead    one until now can be made later: the detail says when
//	409 Newest key is not removed    add the next key first
//	409 Signing Key is in use        the detail says how; force removes it
//	409 Signing Key exists already   an external key gets one serial: make a new one
//	409 Another key was added        by another caller, at the same time
//	413 Content Too Large
//	415 Unsupported Media Type
//	429 Too Many Requests            a token of this id was renewed just now, or this host asked for that: Retry-After says when to ask again
//	500 Revocation list unreadable   an operator must repair the record
//	500 Cutoffs unreadable           the same
//	500 Signing Key unreadable       an operator must repair the record of the newest key
//	500 Internal Server Error        such as a signing key or a record that cannot be read
//	503 Service unavailable          the store could not be read or written: try again
//	507 Revocation list is full      the record has reached the maximum size of the store
//	507 Cutoffs are full             the same
//
// No answer contains the cause of a 500 or 503; the log does.
//
// # Public keys
//
// A key set (RFC 7517) holds the public halves of the readable keys of one mesh,
// or of the zones. Every mesh and the zones have a key "1", so no set covers several
// of them. The answer has an ETag and may be cached for 60 seconds: a new key should
// not sign before clients had that time to fetch it, see dataplane.WithPublishDelay.
// The handler reads a set from the store at most once a second, however often clients
// ask for it, and builds it again only when its keys have changed.
//
// # Audit
//
// Every request for a token or for a change of a revocation list, of cutoffs or of keys is an audit
// event, done or refused, with the actor from the authoriser. A dry run is one only if the
// authoriser refuses it. A request to renew a token that is not good is a message of the
// validator instead, and of those that come too early the first is an event. See package audit.
package httpapi
