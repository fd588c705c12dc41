package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/meshpass/meshpass/keystore"
)

// The API server ends the request of a watch after this time.
var watchSeconds int64 = 30

const (
	// If a request lasts longer, its connection is dead.
	maxWatch = 35 * time.Second

	// If a request ends sooner, the watch ends.
	minWatch = time.Second
)

// Watch implements [keystore.Watcher]. It ends when its connection is lost. It
// finds within 15 s that a connection of [Open] has died silently, and within 45 s that
// another one has. If the label that names the mesh
// is changed, it announces both meshes.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.watch(ctx, changed)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("kubernetes: the watch was lost: %w", err)
}

func (s *Store) watch(ctx context.Context, changed func(keystore.Scope)) error {
	meshes, err := s.beginWatch(ctx, meshSecret)
	if err != nil {
		return err
	}
	defer func() { meshes.stop() }()
	global, err := s.beginWatch(ctx, globalSecret)
	if err != nil {
		return err
	}
	defer func() { global.stop() }()
	changed(keystore.AllScopes)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, ok := <-meshes.events.ResultChan():
			err = meshes.next(ctx, event, ok, changed)
		case event, ok := <-global.events.ResultChan():
			err = global.next(ctx, event, ok, changed)
		}
		if err != nil {
			return err
		}
	}
}

// secretWatch is a watch of the Secrets of a type, as one request after the other.
type secretWatch struct {
	store  *Store
	of     corev1.SecretType
	at     string                    // the resource version up to which all changes were announced
	scopes map[string]keystore.Scope // by name, to know where a Secret was before

	began  time.Time
	events watch.Interface
	cancel context.CancelFunc
}

func (s *Store) beginWatch(ctx context.Context, of corev1.SecretType) (*secretWatch, error) {
	w := &secretWatch{store: s, of: of, scopes: map[string]keystore.Scope{}}
	listing, cancel := context.WithTimeout(ctx, maxWatch)
	defer cancel()
	list, err := s.secrets.List(listing, metav1.ListOptions{FieldSelector: ofType(of)})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		w.scopes[list.Items[i].Name], _ = scopeOf(&list.Items[i])
	}
	w.at = list.ResourceVersion
	return w, w.request(ctx)
}

// request makes the next request.
func (w *secretWatch) request(ctx context.Context) error {
	ctx, w.cancel = context.WithTimeout(ctx, maxWatch)
	w.began = time.Now()
	var err error
	w.events, err = w.store.secrets.Watch(ctx, metav1.ListOptions{
		FieldSelector:       ofType(w.of),
		ResourceVersion:     w.at,
		AllowWatchBookmarks: true, // or at becomes too old while nothing changes
		TimeoutSeconds:      &watchSeconds,
	})
	if err != nil {
		w.cancel()
	}
	return err
}

func (w *secretWatch) stop() {
	w.cancel()
	if w.events != nil {
		w.events.Stop()
	}
}

// next announces what an event says. When the events of a request have ended, it makes
// the next request.
func (w *secretWatch) next(ctx context.Context, event watch.Event, ok bool, changed func(keystore.Scope)) error {
	if !ok {
		if time.Since(w.began) < minWatch {
			return errors.New("the API server ended it at once")
		}
		w.stop()
		return w.request(ctx)
	}
	if event.Type == watch.Error { // such as 410 Gone, if at is too old
		return apierrors.FromObject(event.Object)
	}
	secret, ok := event.Object.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("the API server sent a %T, want a Secret", event.Object)
	}
	w.at = secret.ResourceVersion
	if event.Type == watch.Bookmark {
		return nil
	}
	scope, _ := scopeOf(secret)
	if before, known := w.scopes[secret.Name]; known && before != scope {
		changed(before)
	}
	changed(scope)
	if event.Type == watch.Deleted {
		delete(w.scopes, secret.Name)
	} else {
		w.scopes[secret.Name] = scope
	}
	return nil
}
