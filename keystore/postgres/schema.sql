-- The tables of the store, version 1, for PostgreSQL 13 and later. They are made
-- in the first schema of the search_path. Store.Migrate runs exactly this.

CREATE TABLE meshpass_schema (version integer NOT NULL);

INSERT INTO meshpass_schema VALUES (1);

CREATE TABLE meshpass_records (
    scope   text COLLATE "C" NOT NULL CHECK (scope ~ '^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$'), -- '' is the global scope
    name    text COLLATE "C" NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$'),
    version uuid NOT NULL DEFAULT gen_random_uuid(),
    created timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(created)),
    data    bytea NOT NULL CHECK (octet_length(data) <= 67108864),
    PRIMARY KEY (scope, name)
);

-- Keys do not compress, and a list of many is read faster if they are in their rows.
ALTER TABLE meshpass_records ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE meshpass_records SET (toast_tuple_target = 4080);

-- Every update gives a new version, also one made by hand.
CREATE FUNCTION meshpass_new_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := pg_catalog.gen_random_uuid();
    RETURN NEW;
END $$;

CREATE TRIGGER meshpass_new_version BEFORE UPDATE ON meshpass_records
    FOR EACH ROW EXECUTE FUNCTION meshpass_new_version();

-- Every change is announced when it is committed, with its scope, or '*' for all
-- scopes. The channel has the number of the table in its name, so that several such
-- tables in one database do not hear each other.
CREATE FUNCTION meshpass_announce() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    channel text := pg_catalog.concat('meshpass_', TG_RELID);
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_catalog.pg_notify(channel, '*');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_catalog.pg_notify(channel, NEW.scope);
    END IF;
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_catalog.pg_notify(channel, OLD.scope);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER meshpass_announce AFTER INSERT OR UPDATE OR DELETE ON meshpass_records
    FOR EACH ROW EXECUTE FUNCTION meshpass_announce();

CREATE TRIGGER meshpass_announce_all AFTER TRUNCATE ON meshpass_records
    FOR EACH STATEMENT EXECUTE FUNCTION meshpass_announce();

-- Also for changes by logical replication (session_replication_role = replica).
ALTER TABLE meshpass_records ENABLE ALWAYS TRIGGER meshpass_new_version;
ALTER TABLE meshpass_records ENABLE ALWAYS TRIGGER meshpass_announce;
ALTER TABLE meshpass_records ENABLE ALWAYS TRIGGER meshpass_announce_all;
