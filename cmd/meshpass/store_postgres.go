package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshpass/meshpass/keystore/postgres"
)

func (a *app) openPostgres(ctx context.Context, u storeURL, prepare bool) (*openedStore, error) {
	config, err := pgxpool.ParseConfig(u.whole)
	if err != nil {
		if u.password == "" { // else the error might show a part of it
			return nil, usagef("the URL of the store: %w", err)
		}
		return nil, usagef("PostgreSQL cannot read the URL of the store, want postgres://USER@HOST:PORT/DATABASE; write special characters in a password as %% and their hexadecimal code")
	}
	table := config.ConnConfig.RuntimeParams["table"] // which is none of the server's
	delete(config.ConnConfig.RuntimeParams, "table")
	open := postgres.New
	switch {
	case table == "kuma":
		open = postgres.NewKuma
	case u.query.Has("table"):
		return nil, usagef("the URL of the store names an unknown table, want table=kuma for Kuma's own table, or none")
	}
	config.MaxConns = 2
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	store, err := open(pool)
	if err == nil && prepare {
		err = store.Migrate(ctx)
	}
	if err != nil {
		pool.Close()
		return nil, (&storeService{name: u.String(), timeout: a.timeout}).explain(err, owner{})
	}
	return &openedStore{store, u.String(), pool.Close}, nil
}
