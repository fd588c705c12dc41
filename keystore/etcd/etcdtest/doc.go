// Package etcdtest holds the tests of keystore/etcd that need a server. They run etcd
// itself, embedded in the test process. The package is a module of its own, so that
// users of the store do not depend on the server. Nothing imports it.
package etcdtest
