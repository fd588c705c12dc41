// Package httpapi serves tokens, revocation lists and public keys over HTTP,
// and is a client for them.
//
//	POST   /tokens/dataplane               {"name","mesh","tags","type","workload","validFor"}
//	POST   /tokens/zone                    {"zone","scope","validFor"}
//	GET    /revocations/dataplane/{mesh}   {"ids":["..."]}
//	POST   /revocations/dataplane/{mesh}   {"ids":["..."]}, revokes
//	DELETE /revocations/dataplane/{mesh}   {"ids":["..."]}, restores
//	GET    /revocations/zone               and POST and DELETE, the same for zone tokens
//	GET    /jwks/dataplane/{mesh}          the mesh's public keys
//	GET    /jwks/zone                      the public keys of zone tokens
//
// The two token endpoints take the requests of Kuma's, and answer in the same
// form; so [Client] can also ask a Kuma control plane for tokens.
//
// # A server
//
// [New] needs a store, the two issuers, and an [Authorizer]: a function of the
// operator's that decides who may do what. There is no default.
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
// Tokens are bearer credentials: serve over TLS. The timeouts of the connections
// are the http.Server's, and so is a limit on concurrent requests, if one is
// wanted. The handler reads at most 64 KiB of a request for a token and 1 MiB of
// one for a revocation list, and gives the authoriser and the store 10 seconds.
// Under a prefix it is mounted with http.StripPrefix.
//
// # Requests
//
// A body is one JSON object, of content type application/json and not
// compressed. It is read strictly: a name that is unknown, misspelled in case or
// there twice, a value of another type, text that is not UTF-8, and anything
// after the object are refused. Null and the empty string stand for an absent
// field. validFor is a duration as Go writes it ("24h", "1h30m"), of at least
// one second; if it is absent the token is valid for 10 years (87600h), as in
// Kuma.
//
// A mesh's revocation list is the one in its own scope. Validators also apply one in
// the global scope, if there is such a record; it is neither shown nor changed here:
// see revocation.DataplaneGlobal.
//
// # Answers
//
// A token is answered with 200 and the bare token as text/plain, a change of a
// revocation list with 204, what was read with 200 and JSON. Nothing but public
// keys may be cached. Every error has the form of [Error]; its title says what
// happened:
//
//	400 Invalid request              the body or a field is not acceptable: see invalid_parameters
//	400 Could not issue a token      issuing is switched off, or the issuer's limits forbid the token
//	401 Unauthenticated              the authoriser does not know who asks
//	403 Access Denied                the authoriser or the issuer's policy does not allow it
//	404 Signing Key not found        the mesh, or the zones, have no key
//	404 Not Found                    there is no such path
//	405 Method not Allowed           Allow lists those that are
//	409 Store is read-only           revocations are changed elsewhere, such as on the global control plane
//	413 Content Too Large
//	415 Unsupported Media Type
//	500 Revocation list unreadable   an operator must repair the record
//	500 Internal Server Error        such as a signing key that cannot be read
//	503 Service unavailable          the store could not be read or written: ask again
//	507 Revocation list is full      the store takes no larger record
//
// No answer tells the cause of a 500 or 503; the log has it.
//
// # Public keys
//
// A key set (RFC 7517) holds the public halves of the readable keys of one mesh,
// or of the zones. Every mesh and the zones have a key "1", so there is no set of
// several. The answer has an ETag and may be cached for 60 seconds: a new key
// should not sign before others have had that time to fetch it, see
// dataplane.WithPublishDelay. A set is read from the store at most once a
// second, however often it is asked for, and is built anew only when its keys
// have changed.
//
// # Audit
//
// Every request for a token or a change of a revocation list is an audit event,
// done or refused, with the actor that the authoriser named. See package audit.
package httpapi
