package live

import "github.com/meshpass/meshpass/keystore"

// byScope maps the scopes, and what belongs to each of them. It holds no scope to which
// nothing belongs.
type byScope[K comparable, V any] map[keystore.Scope]map[K]V

func (m byScope[K, V]) put(scope keystore.Scope, key K, value V) {
	of := m[scope]
	if of == nil {
		of = make(map[K]V)
		m[scope] = of
	}
	of[key] = value
}

func (m byScope[K, V]) remove(scope keystore.Scope, key K) {
	of := m[scope]
	if delete(of, key); len(of) == 0 {
		delete(m, scope)
	}
}
