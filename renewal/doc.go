// Package renewal keeps the token in a file fresh: it exchanges the token for a later one
// of the same lineage before it expires, and replaces the file atomically.
//
// A lineage is the tokens with one id. Renewal never widens what a token permits, so a
// proxy can do it by itself, with nothing but its token:
//
//	keeper, err := renewal.NewKeeper("/var/lib/proxy/token", renew)
//	err = keeper.Run(ctx) // until ctx ends
//
// where renew is a [Renew], such as a method of a client of the control plane. Keep the
// token in a folder that the process may write to. The command is "meshpass renew";
// cmd/meshpass/renew has it as a unit for systemd and as a sidecar for Kubernetes.
//
// # When
//
// A token is renewed at a random moment between a half and two thirds of its lifetime
// ([WithPoint]), so that proxies that started together do not renew together. The time
// that remains is for outages. After a failure the Keeper tries again: after a second, and
// then after pauses that double up to a minute, or later if the server asks for that,
// though in time before the token expires. If the server says twice in a row that a token of
// the lineage was renewed just now, another process renews it, perhaps a thief: the Keeper
// says so, at Error. A refusal is final for most tokens, so after one
// the pauses are a minute to an hour, but until the token expires at most half of the time
// that remains: the operator may mend what refuses it. The server decides what has expired: the Keeper also
// tries with a token that looks expired.
//
// The Keeper reads the file every second. A token that another process puts there is the
// one that it looks after from then on.
//
// # Clocks
//
// A token that this process obtained is due when a part of its lifetime has passed by the
// wall clock or by the monotonic clock, whichever comes first. So a clock that is set forward
// causes one early renewal, and one that is set back delays none. How long a token lives is
// told from its claims alone, by the clock of its issuer. For a token that was found in the
// file, the wall clock says how much of that has passed.
//
// # What can happen to the file
//
// At any moment, also after a crash, the file is one whole token: the old one or the new
// one. It keeps owner, group, mode, access control list and extended attributes, as far as
// the process may set them, and the white space around the token. Nothing replaces it if the
// new token differs in kind, claims or id, does not expire later, or is not valid in time.
// What a killed process leaves, a file whose name begins with a dot and the name of the
// token file, is removed by the next one.
//
// Space on the disk is taken before the server is asked, so a full disk or a folder that
// cannot be written costs no renewal.
//
// All that a renewal does in the folder it does through one handle, so that who may rename a
// folder on the path leads no part of it elsewhere. Two Keepers keep each other out by a lock
// on a file beside the token file, named .NAME.lock, that only those who may write to the folder can open: who can
// read the token file cannot stop its renewal. It is there during a renewal. On Windows
// there is no lock. Another process that replaces it meanwhile
// wins: the new token of the Keeper is dropped ([ErrReplaced]). On Linux, where the file
// system can exchange two files, that holds for a replacement at every moment: the Keeper
// looks at what it got in exchange, and puts it back if it is not the token that it
// renewed. Two gaps of microseconds remain. A process that opened the file for writing
// before the exchange and writes after that check writes to the old file. And if the Keeper is
// killed between the exchange and the putting back, its own token stays. What cannot be put
// back is kept under a name of its own, which the error says. On other systems a
// replacement between the last check and the rename is lost.
package renewal
