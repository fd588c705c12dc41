package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// kubectlComment begins every manifest for Kubernetes.
const kubectlComment = `# Apply with: kubectl apply --server-side -f FILE
# Without --server-side, kubectl copies each private key into an annotation of its Secret.
`

const kumactlComment = "# Apply with: kumactl apply -f FILE\n"

func (a *app) exportCommand() *cobra.Command {
	var e exporting
	var which choice
	var all bool
	command := &cobra.Command{
		Use:   "export",
		Short: "Write keys and revocation lists for Kuma or Kong Mesh",
		Long: `Writes the signing keys, public keys and revocation lists of a store as secrets of Kuma, in YAML: those of a mesh, those
of the zones, or all. "kumactl apply -f" takes the file. The mesh must exist there.

With --kubernetes the file is for "kubectl apply --server-side -f". Never leave out --server-side: kubectl would copy
each private key into an annotation of its Secret, where more people can read it.

The file holds private keys, also those of an encrypted store. With --public-only it has their public halves instead,
also those of keys in a KMS or HSM: that is what a zone needs.

Of the two revocation lists that a mesh may have, Kuma reads only the global one; a warning says which ids that one
lacks. On Kubernetes a name exists once, so with --kubernetes the ids of both go into the global one. Kuma knows no
cutoffs, no floor of a pruned list and no keys in a KMS or HSM: a warning names those that stay behind.

A key or a list that cannot be read is left. The command names it, and its exit status is then 1.`,
		Example: `  meshpass export --mesh default --output secrets.yaml
  meshpass export --all --public-only --output zone.yaml
  meshpass export --all --kubernetes --output kubernetes.yaml`,
		Args: noArguments,
	}
	which.flags(command)
	flags := command.Flags()
	flags.SortFlags = false
	flags.BoolVar(&all, "all", false, "all meshes, and zone tokens")
	flags.BoolVar(&e.publicOnly, "public-only", false, "the public halves of private keys in their place")
	flags.BoolVar(&e.listsOnly, "revocations-only", false, "only revocation lists")
	flags.BoolVar(&e.kubernetes, "kubernetes", false, "write Secrets of Kubernetes")
	textFlag(flags, &e.namespace, "namespace", "", "name", "with --kubernetes: the namespace of the control plane (default kuma-system)")
	completes(command, "namespace", cobra.ShellCompDirectiveNoFileComp, "kuma-system", "kong-mesh-system")
	e.output.flags(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if all && which.given() {
			return usagef("--all has everything: leave out --mesh and --zone-tokens")
		}
		if !all {
			of, err := which.owner()
			if err != nil {
				return err
			}
			e.only = &of
		}
		if e.namespace != "" && !e.kubernetes {
			return usagef("--namespace needs --kubernetes")
		}
		if e.kubernetes && e.namespace == "" {
			e.namespace = "kuma-system"
		}
		e.output.public = e.publicOnly || e.listsOnly
		if err := e.output.check(); err != nil {
			return err
		}
		ctx, from, done, err := a.connectStore(command, "export", connecting{})
		if err != nil {
			return err
		}
		defer done()
		e.app, e.from = a, from
		return e.run(ctx)
	}
	return command
}

// exporting writes records as secrets.
type exporting struct {
	output
	only                  *owner // nil means all
	publicOnly, listsOnly bool
	kubernetes            bool
	namespace             string

	app     *app
	from    *storeService
	records []keystore.Record
	left    int
}

func (e *exporting) leave(name string, reason error) {
	e.left++
	e.app.say("left %s: %v", name, reason)
}

func (e *exporting) run(ctx context.Context) error {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		records, err := e.from.List(ctx, keystore.AllScopes, string(kind)+"-token-")
		unreadable, err := keystore.SplitUnreadable(err)
		if err != nil {
			return e.from.explain(err, owner{})
		}
		for _, failed := range unreadable {
			if e.wants(failed.Scope, failed.Name) {
				e.leave(named(keystore.Record{Scope: failed.Scope, Name: failed.Name}), failed)
			}
		}
		for _, r := range records {
			if e.wants(r.Scope, r.Name) {
				e.add(r)
			}
		}
	}
	e.checkLists()
	if len(e.records) == 0 && e.left == 0 {
		return advise(fmt.Errorf("%s has nothing to export", e.from), "check --mesh and --store")
	}
	text := bytes.NewBufferString(kumactlComment)
	if e.kubernetes {
		text = bytes.NewBufferString(kubectlComment)
	}
	for i, r := range e.records {
		if i > 0 { // not before the first one: kumactl would take the comment for a resource
			text.WriteString("---\n")
		}
		writeManifest(text, r, e.namespace)
	}
	if err := e.app.write(e.output, text.Bytes()); err != nil {
		return err
	}
	e.app.say("exported %d records", len(e.records))
	if e.left > 0 {
		return fmt.Errorf("%d keys or lists were left: see the reasons above", e.left)
	}
	return nil
}

// wants reports whether a record belongs to what is to be exported.
func (e *exporting) wants(scope keystore.Scope, name string) bool {
	_, mesh, isList := revocation.ParseName(name)
	if !isList {
		_, mesh, isList = revocation.ParseCutoffsName(name)
	}
	switch {
	case e.listsOnly && !isList:
		return false
	case e.only == nil:
		return true
	case isList && scope == keystore.Global: // of the zones, or the second list of a mesh
		return mesh == e.only.mesh
	}
	return string(scope) == e.only.mesh
}

// add takes a record that can be read.
func (e *exporting) add(r keystore.Record) {
	if kind, _, ok := revocation.ParseCutoffsName(r.Name); ok {
		cutoffs, err := revocation.ParseCutoffs(kind, r.Data)
		if err != nil || len(cutoffs.All()) > 0 {
			e.app.say("warning: %s are cutoffs, which stay here: Kuma does not know them and accepts the tokens that they revoke; in another store of Meshpass, add them with \"meshpass cutoffs add\"", named(r))
		}
		if floor := cutoffs.Floor(); !floor.IsZero() {
			e.app.say("warning: %s has the floor of a pruned list, %s, which stays here: Kuma accepts tokens with earlier ids that have not expired, also those whose ids were pruned; in another store of Meshpass, prune too", named(r), floor.Format(time.RFC3339))
		}
		return
	}
	what, serial, err := contentOf(r.Scope, r.Name)
	if err == nil && what == foreign {
		return
	}
	name := named(r)
	if what == externalKey && !e.publicOnly {
		e.app.say("warning: %s is the public half of a key in a KMS or HSM and stays here: Kuma does not know it and refuses the tokens that it signs; give it to Kuma's settings (publicKeys)", name)
		return
	}
	if err == nil {
		r, err = checkContent(r, what, serial, e.publicOnly)
	}
	if err != nil {
		e.leave(name, err)
		return
	}
	if what == privateKey && !e.publicOnly {
		e.warnOfForm(name, r)
	}
	for _, earlier := range e.records { // a private key and its public half in one store
		if keystore.CompareRecords(earlier, r) == 0 {
			return
		}
	}
	e.records = append(e.records, r)
}

// warnOfForm warns of a private key that can be parsed here and not by Kuma.
func (e *exporting) warnOfForm(name string, r keystore.Record) {
	block, _ := pem.Decode(r.Data)
	switch {
	case block != nil && block.Type != "RSA PRIVATE KEY":
		e.app.say("warning: %s is in PKCS#8, and Kuma reads private keys only in PKCS#1", name)
	case block == nil && r.Scope == keystore.Global:
		e.app.say("warning: %s is in DER, and Kuma sends only keys in PEM to its zones", name)
	}
}

// checkLists warns of what Kuma reads otherwise. For Kubernetes it makes one list of a
// mesh's two.
func (e *exporting) checkLists() {
	lists := map[revocation.Ref]*revocation.List{}
	for _, r := range e.records {
		if _, _, isList := revocation.ParseName(r.Name); !isList {
			continue
		}
		parsed, err := revocation.Parse(r.Data)
		if err != nil {
			continue // add has left it
		}
		lists[revocation.Ref{Scope: r.Scope, Name: r.Name}] = parsed
		odd := func(r rune) bool { return r <= ' ' || r > '~' }
		if len(parsed.Problems()) > 0 || strings.ContainsFunc(strings.TrimSuffix(string(r.Data), "\n"), odd) {
			e.app.say("warning: %s has more than ids and commas, and Kuma reads that otherwise", named(r))
		}
	}
	kept := e.records[:0:0]
	for _, r := range e.records {
		_, mesh, isList := revocation.ParseName(r.Name)
		if !isList || mesh == "" {
			kept = append(kept, r)
			continue
		}
		own, global := lists[revocation.Dataplane(mesh)], lists[revocation.DataplaneGlobal(mesh)]
		missing := own.MissingFrom(global)
		switch {
		case r.Scope == keystore.Global && own != nil && e.kubernetes:
			merged, err := revocation.Format(append(global.IDs(), own.IDs()...))
			if err != nil {
				e.leave(named(r), err)
				continue
			}
			r.Data = merged
		case r.Scope != keystore.Global && global != nil && e.kubernetes:
			e.app.say("the ids of %s are in the global list, since Kubernetes has each name once", named(r))
			continue
		case r.Scope != keystore.Global && missing > 0:
			e.app.say("warning: Kuma reads only the global list of mesh %q, which lacks %d of the mesh's revoked ids: meshpass revocations make-global --mesh %s", mesh, missing, mesh)
		}
		kept = append(kept, r)
	}
	e.records = kept
}
