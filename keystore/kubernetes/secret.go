package kubernetes

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshpass/meshpass/keystore"
)

// The form that Kuma gives to its Secrets.
const (
	meshSecret   corev1.SecretType = "system.kuma.io/secret"
	globalSecret corev1.SecretType = "system.kuma.io/global-secret"

	meshLabel = "kuma.io/mesh"
	dataKey   = "value" // where the bytes are, in data

	// The mesh of a Secret whose label is missing or empty.
	defaultMesh keystore.Scope = "default"
)

// scopeOf returns the scope of the record in a Secret, or false if it is not a record.
func scopeOf(secret *corev1.Secret) (keystore.Scope, bool) {
	switch secret.Type {
	case globalSecret:
		return keystore.Global, true
	case meshSecret:
		if mesh := secret.Labels[meshLabel]; mesh != "" {
			return keystore.Scope(mesh), true
		}
		return defaultMesh, true
	}
	return "", false
}

// What the names of the lists of a mesh begin with. The name ends in the mesh.
var listPrefixes = []string{"dataplane-token-revocations-", "dataplane-token-cutoffs-"}

// checkScope returns an error if it cannot be told to which mesh the list in a Secret
// belongs: by its missing label to mesh default, and by its name to the other mesh that
// checkScope returns. As a list of mesh default it would revoke nothing, and no other
// Secret can have the name.
func checkScope(secret *corev1.Secret) (other keystore.Scope, err error) {
	if secret.Type != meshSecret || secret.Labels[meshLabel] != "" {
		return "", nil
	}
	for _, prefix := range listPrefixes {
		mesh, ok := strings.CutPrefix(secret.Name, prefix)
		if other := keystore.Scope(mesh); ok && other != defaultMesh && mesh != "" && keystore.CheckScope(other) == nil {
			return other, fmt.Errorf("%w: the Secret %q has no label %s, want it with the value %q",
				keystore.ErrScopeUnknown, secret.Name, meshLabel, mesh)
		}
	}
	return "", nil
}

// ofType returns the field selector of Secrets of a type.
func ofType(of corev1.SecretType) string { return "type=" + string(of) }

// newSecret returns the Secret for a new record.
func newSecret(r keystore.Record) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: r.Name},
		Type:       globalSecret,
		Data:       map[string][]byte{dataKey: r.Data},
	}
	if r.Scope != keystore.Global {
		secret.Type = meshSecret
		secret.Labels = map[string]string{meshLabel: string(r.Scope)}
	}
	return secret
}

// toRecord returns the record in a Secret.
func toRecord(secret *corev1.Secret) (keystore.Record, error) {
	scope, ours := scopeOf(secret)
	if !ours {
		return keystore.Record{}, fmt.Errorf("the Secret %q has the type %q, want %q or %q", secret.Name, secret.Type, meshSecret, globalSecret)
	}
	if _, err := checkScope(secret); err != nil {
		return keystore.Record{}, err
	}
	data, ok := secret.Data[dataKey]
	if !ok {
		// As an empty revocation list it would revoke nothing.
		return keystore.Record{}, fmt.Errorf("the Secret %q has no %q in its data, want the record there", secret.Name, dataKey)
	}
	return keystore.Record{
		Scope:   scope,
		Name:    secret.Name,
		Data:    data,
		Version: secret.ResourceVersion,
		Created: secret.CreationTimestamp.UTC(),
	}, nil
}

// checkHeld returns nil if Kubernetes can hold a record of a scope and a name that
// keystore.CheckID accepts. Otherwise the error matches keystore.ErrName.
func checkHeld(scope keystore.Scope, name string) error {
	if err := checkHeldScope(scope); err != nil {
		return err
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("%w: Kubernetes cannot name a Secret %.64q: %s", keystore.ErrName, name, strings.Join(problems, "; "))
	}
	return nil
}

// checkHeldScope is checkHeld for a scope alone.
func checkHeldScope(scope keystore.Scope) error {
	if problems := validation.IsValidLabelValue(string(scope)); len(problems) > 0 {
		return fmt.Errorf("%w: Kubernetes cannot label a Secret with mesh %.64q: %s", keystore.ErrName, string(scope), strings.Join(problems, "; "))
	}
	return nil
}

func checkRecord(r keystore.Record) error {
	if err := keystore.CheckRecord(r, maxData); err != nil {
		return err
	}
	return checkHeld(r.Scope, r.Name)
}
