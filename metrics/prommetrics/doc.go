// Package prommetrics has the metrics of validators and issuers for Prometheus.
//
//	collector := prommetrics.New()
//	prometheus.MustRegister(collector)
//
//	issuer, err := dataplane.NewIssuer(store, dataplane.WithObserver(collector))
//	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(collector))
//	zones, err := zone.NewValidator(store, zone.WithObserver(collector))
//
//	http.Handle("/metrics", promhttp.Handler())
//
// All names begin with meshpass_:
//
//	validations_total                         kind mesh class reason   answers of Validate
//	validation_duration_seconds               kind class               histogram
//	issuances_total                           kind mesh class reason   answers of Issue
//	issuance_duration_seconds                 kind class               histogram
//	renewals_total                            kind mesh class reason   answers of Renew
//	renewal_duration_seconds                  kind class               histogram
//	forks_total                               kind mesh                tokens that two holders have, as it seems: see dataplane.Fork
//	permit_refusals_total                     kind mesh                accepted tokens that do not permit the peer
//	key_validations_total                     kind mesh kid result     accepted and refused tokens with a good signature
//	keys                                      kind mesh kid state      1 for each key: signs, verifies, unreadable or source
//	key_created_timestamp_seconds             kind mesh kid
//	key_unused_since_timestamp_seconds        kind mesh kid            last accepted token, or the start of the process
//	sessions                                  kind mesh kid            open ones
//	staleness_seconds                         kind                     age of the last complete read of the store
//	store_reads_total                         kind extent              complete, or of a single mesh
//	store_read_failures_total                 kind extent
//	source_staleness_seconds                  kind mesh source         the same of a JWKS or a file of keys
//	source_reads_total                        kind mesh source
//	source_read_failures_total                kind mesh source
//	revoked_ids, cutoffs, record_problems     kind mesh                what the store has
//
// kind is dataplane or zone. class is accepted, invalid, not_permitted or unavailable for
// validations, and issued, refused, unavailable or failed for issuances; for renewals it is
// renewed in place of issued. reason is the name of a token.Reason; it is empty for tokens
// that were accepted, issued or renewed.
//
// What a peer sends makes no new time series: mesh is empty unless the store or the
// configuration has the mesh, and kid is that of a key. A store of 10,000 meshes has some
// 200,000 series all the same; drop labels by relabelling if that is too much. Meshes and
// kids can be read in them, so serve them where peers cannot reach.
//
// The folder of the package has a dashboard for Grafana, dashboard.json, and alert rules,
// alerts.yaml.
package prommetrics
