package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/meshpass/meshpass/keystore"
)

// maxData is how many bytes all values of a Secret have together at most.
const maxData = corev1.MaxSecretSize

// maxAttempts is how often a list of two requests begins, and a Create whose name is free
// one moment and taken the next.
const maxAttempts = 5

// Store is a [keystore.KeyStore] and a [keystore.Watcher] that keeps its records as
// Secrets of one namespace. Any number of processes may call all methods concurrently. A
// Store need not be closed.
//
// A record has at most 1 MiB (1,048,576 bytes) of data, together with any other data in
// its Secret. Versions are resource versions. Times of creation are whole seconds. Each
// name exists once in all scopes: Create returns ErrNameTaken for the name of any other
// Secret of the namespace.
//
// Kubernetes holds fewer names than other stores. A record's name is that of a
// Secret: a lower-case RFC 1123 subdomain of at most 253 bytes. A mesh is the value
// of a label: at most 63 bytes that begin and end with a letter or a digit. Create
// and Update return ErrName for all others; reads find nothing under them and make
// no request.
//
// Create, Update and Delete return ErrReadOnly if the client's user has no right to
// them. If the API server does not answer, a request fails when its context ends, or
// earlier if the client has a time limit of its own.
type Store struct {
	secrets typedcorev1.SecretInterface
}

var (
	_ keystore.KeyStore = (*Store)(nil)
	_ keystore.Watcher  = (*Store)(nil)
)

// New returns a store on the Secrets of the client's namespace, such as
// clientset.CoreV1().Secrets("kuma-system"). It makes no request.
func New(secrets typedcorev1.SecretInterface) (*Store, error) {
	if secrets == nil {
		return nil, errors.New("kubernetes: the client of Secrets is nil, want one such as clientset.CoreV1().Secrets(namespace)")
	}
	return &Store{secrets: secrets}, nil
}

// Get implements [keystore.KeyStore].
func (s *Store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, failed(ctx, "get", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return keystore.Record{}, err
	}
	secret, err := s.find(ctx, scope, name)
	if err != nil {
		return keystore.Record{}, failed(ctx, "get", scope, name, err)
	}
	r, err := toRecord(secret)
	if err != nil {
		return keystore.Record{}, failed(ctx, "get", scope, name, keystore.CannotRead(err))
	}
	return r, nil
}

// Create implements [keystore.KeyStore].
func (s *Store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, failed(ctx, "create", r.Scope, r.Name, err)
	}
	if err := checkRecord(r); err != nil {
		return keystore.Record{}, err
	}
	for attempt := 1; ; attempt++ {
		created, err := s.secrets.Create(ctx, newSecret(r), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			var holder *corev1.Secret
			holder, err = s.secrets.Get(ctx, r.Name, metav1.GetOptions{})
			if notFound(err) && attempt < maxAttempts {
				continue // it was deleted meanwhile
			}
			if err == nil {
				err = exists(holder, r.Scope)
			}
		}
		var stored keystore.Record
		if err == nil {
			stored, err = toRecord(created)
		}
		if err != nil {
			return keystore.Record{}, failedWrite(ctx, "create", r, err)
		}
		return stored, nil
	}
}

// exists returns the error of Create for the name of an existing Secret.
func exists(holder *corev1.Secret, scope keystore.Scope) error {
	held, ours := scopeOf(holder)
	other, err := checkScope(holder)
	switch {
	case err != nil && other == scope:
		return fmt.Errorf("%w: %w", keystore.ErrNameTaken, err)
	case !ours:
		return fmt.Errorf("%w: a Secret of type %q has it", keystore.ErrNameTaken, holder.Type)
	case held == scope:
		return keystore.ErrExists
	case held == keystore.Global:
		return fmt.Errorf("%w: the global scope has it", keystore.ErrNameTaken)
	}
	return fmt.Errorf("%w: scope %q has it", keystore.ErrNameTaken, string(held))
}

// Update implements [keystore.KeyStore]. It replaces the value and leaves everything else
// in the Secret: labels, annotations, owners and other data.
func (s *Store) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, failed(ctx, "update", r.Scope, r.Name, err)
	}
	if err := checkRecord(r); err != nil {
		return keystore.Record{}, err
	}
	updated, err := s.update(ctx, r)
	if err != nil {
		return keystore.Record{}, failedWrite(ctx, "update", r, err)
	}
	return updated, nil
}

func (s *Store) update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	secret, err := s.find(ctx, r.Scope, r.Name)
	if err != nil {
		return keystore.Record{}, err
	}
	if secret.ResourceVersion != r.Version {
		return keystore.Record{}, keystore.ErrConflict
	}
	if _, err := checkScope(secret); err != nil {
		return keystore.Record{}, err
	}
	if secret.Immutable != nil && *secret.Immutable {
		return keystore.Record{}, errors.New("the Secret is marked as immutable")
	}
	size := len(r.Data)
	for key, value := range secret.Data {
		if key != dataKey {
			size += len(value)
		}
	}
	if size > maxData {
		return keystore.Record{}, fmt.Errorf("%w: with its other data the Secret would have %d bytes, the limit is %d",
			keystore.ErrTooLarge, size, maxData)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[dataKey] = r.Data
	// The API server compares the resource version, so no other change is lost.
	secret, err = s.secrets.Update(ctx, secret, metav1.UpdateOptions{})
	switch {
	case notFound(err):
		return keystore.Record{}, keystore.ErrNotFound
	case changed(err):
		return keystore.Record{}, keystore.ErrConflict
	case err != nil:
		return keystore.Record{}, err
	}
	return toRecord(secret)
}

// Delete implements [keystore.KeyStore]. It fails for a Secret with finalizers, which
// stays until they are removed.
func (s *Store) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return failed(ctx, "delete", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return err
	}
	for refused := ""; ; {
		secret, err := s.find(ctx, scope, name)
		if err == nil {
			// Delete only the Secret that was read, and not one that another scope has made
			// under the name since.
			err = s.secrets.Delete(ctx, name, metav1.DeleteOptions{
				Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion},
			})
			if err == nil && len(secret.Finalizers) > 0 {
				err = fmt.Errorf("the Secret is marked for deletion, but its finalizers %q keep it", secret.Finalizers)
			}
			if apierrors.IsConflict(err) && secret.ResourceVersion != refused {
				refused = secret.ResourceVersion // it has changed, or admission claims so
				continue
			}
		}
		if err == nil || errors.Is(err, keystore.ErrNotFound) || notFound(err) {
			return nil
		}
		return failed(ctx, "delete", scope, name, err)
	}
}

// find returns the Secret of a record, or ErrNotFound.
func (s *Store) find(ctx context.Context, scope keystore.Scope, name string) (*corev1.Secret, error) {
	if checkHeld(scope, name) != nil {
		return nil, keystore.ErrNotFound
	}
	// Without a resource version the API server answers with the latest state.
	secret, err := s.secrets.Get(ctx, name, metav1.GetOptions{})
	if notFound(err) {
		return nil, keystore.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if held, ours := scopeOf(secret); ours && held == scope {
		return secret, nil
	}
	if other, err := checkScope(secret); err != nil && other == scope {
		return nil, err
	}
	return nil, keystore.ErrNotFound
}

// List implements [keystore.KeyStore]. Each scope's part is one consistent view,
// and so are all meshes together.
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, failed(ctx, "list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	if scope != keystore.AllScopes && checkHeldScope(scope) != nil {
		return nil, nil
	}
	l := &listing{store: s, prefix: prefix}
	var err error
	switch scope {
	case keystore.AllScopes:
		if _, err = l.add(ctx, meshSecret, metav1.ListOptions{}); err == nil {
			_, err = l.add(ctx, globalSecret, metav1.ListOptions{})
		}
	case keystore.Global:
		_, err = l.add(ctx, globalSecret, metav1.ListOptions{})
	case defaultMesh:
		err = l.addDefault(ctx)
	default:
		_, err = l.add(ctx, meshSecret, metav1.ListOptions{LabelSelector: meshLabel + "=" + string(scope)})
	}
	if err != nil {
		return nil, failed(ctx, "list", scope, "", err)
	}
	slices.SortFunc(l.records, keystore.CompareRecords)
	return l.records, keystore.Unreadable(l.unreadable)
}

// listing is the answer of a List.
type listing struct {
	store      *Store
	prefix     string
	records    []keystore.Record
	unreadable []*keystore.Error
}

// addDefault adds mesh "default", to which Secrets without a label belong too. No
// selector matches both, and a list of all meshes may be long. So it makes two lists,
// the second at the same moment as the first.
func (l *listing) addDefault(ctx context.Context) error {
	labelled := metav1.ListOptions{LabelSelector: meshLabel + " in (, " + string(defaultMesh) + ")"}
	for attempt := 1; ; attempt++ {
		l.records, l.unreadable = nil, nil
		at, err := l.add(ctx, meshSecret, labelled)
		if err != nil {
			return err
		}
		_, err = l.add(ctx, meshSecret, metav1.ListOptions{
			LabelSelector:        "!" + meshLabel,
			ResourceVersion:      at,
			ResourceVersionMatch: metav1.ResourceVersionMatchExact,
		})
		// etcd may have compacted that moment.
		if !apierrors.IsResourceExpired(err) || attempt == maxAttempts {
			return err
		}
	}
}

// add adds the Secrets of a type, and returns the resource version of that state.
func (l *listing) add(ctx context.Context, of corev1.SecretType, options metav1.ListOptions) (string, error) {
	options.FieldSelector = ofType(of)
	list, err := l.store.secrets.List(ctx, options)
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		l.addSecret(&list.Items[i])
	}
	return list.ResourceVersion, nil
}

// addSecret adds the record in a Secret, or why it cannot be read.
func (l *listing) addSecret(secret *corev1.Secret) {
	if !strings.HasPrefix(secret.Name, l.prefix) {
		return
	}
	r, err := toRecord(secret)
	if err != nil {
		scope, _ := scopeOf(secret)
		l.unreadable = append(l.unreadable, &keystore.Error{Op: "read", Scope: scope, Name: secret.Name, Err: err})
		return
	}
	l.records = append(l.records, r)
}
