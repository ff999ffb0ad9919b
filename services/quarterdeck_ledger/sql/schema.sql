-- The log's tables. Everything leads with the tenant; nobody may update or delete; row-level security is forced,
-- so even the owner sees one tenant at a time: the one that `ledger.enter` set for this transaction.

CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA ledger TO quarterdeck_app, quarterdeck_owner;

-- The names of the tenants, and the number each goes by in every key below: comparing numbers is most of what an append
-- costs. The one table that crosses tenants, read by what serves them all.
CREATE TABLE ledger.tenants (
    tenant_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text COLLATE "C" NOT NULL UNIQUE
);
ALTER TABLE ledger.tenants OWNER TO quarterdeck_owner;
GRANT SELECT ON ledger.tenants TO quarterdeck_app;

-- Set the tenant of this transaction; return its number, 0 while it has no log. Everything begins with this.
CREATE FUNCTION ledger.enter(p_tenant text) RETURNS int LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    number int := coalesce((SELECT t.tenant_id FROM ledger.tenants t WHERE t.name = p_tenant), 0);
BEGIN
    PERFORM set_config('quarterdeck.tenant', p_tenant, true), set_config('quarterdeck.tenant_id', number::text, true);
    RETURN number;
END $$;

-- The tenant of this transaction, by number and by name. They raise when there is none: an empty answer could be believed.
CREATE FUNCTION ledger.current_tenant_id() RETURNS int LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    number text := current_setting('quarterdeck.tenant_id', true);
BEGIN
    IF number IS NULL OR number = '' THEN
        RAISE EXCEPTION 'no tenant is set for this transaction' USING ERRCODE = 'QD001';
    END IF;
    RETURN number::int;
END $$;
CREATE FUNCTION ledger.current_tenant() RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    tenant text := current_setting('quarterdeck.tenant', true);
BEGIN
    IF tenant IS NULL OR tenant = '' THEN
        RAISE EXCEPTION 'no tenant is set for this transaction' USING ERRCODE = 'QD001';
    END IF;
    RETURN tenant;
END $$;

-- One row per tenant: the end of its log. Its lock orders the appends.
CREATE TABLE ledger.heads (
    tenant_id   int PRIMARY KEY,
    position    bigint NOT NULL CHECK (position >= 0),
    recorded_at timestamptz NOT NULL,
    -- RFC 6962 roots of the perfect subtrees, largest first: the root of the log is computed from these alone
    frontier    bytea[] NOT NULL
) WITH (fillfactor = 50);

-- The truth: `entry` is the canonical bytes of the whole event; the other columns are projections of it.
CREATE TABLE ledger.events (
    tenant_id   int NOT NULL,
    position    bigint NOT NULL CHECK (position > 0),
    id          uuid NOT NULL,
    type        text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL,
    entry       bytea NOT NULL CHECK (octet_length(entry) <= 65535),
    leaf_hash   bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    CONSTRAINT events_position PRIMARY KEY (tenant_id, position),
    CONSTRAINT events_id UNIQUE (tenant_id, id)
);
CREATE INDEX events_type ON ledger.events (tenant_id, type, position);

-- Which events concern a thing. `tag` is a key made of the tag (`entry.tag_key`); readers compare the tags in the entry.
CREATE TABLE ledger.tags (
    tenant_id int NOT NULL,
    tag       uuid NOT NULL,
    position  bigint NOT NULL,
    CONSTRAINT tags_position PRIMARY KEY (tenant_id, tag, position)
);

-- Roots of complete subtrees of 256^level leaves, so that a proof reads a few rows (level 0 is events.leaf_hash).
CREATE TABLE ledger.tree_nodes (
    tenant_id int NOT NULL,
    level     int NOT NULL CHECK (level > 0),
    index     bigint NOT NULL CHECK (index >= 0),
    hash      bytea NOT NULL CHECK (octet_length(hash) = 32),
    CONSTRAINT tree_nodes_place PRIMARY KEY (tenant_id, level, index)
);

-- Signed checkpoints (C2SP tlog-checkpoint), also of an idle log.
CREATE TABLE ledger.checkpoints (
    tenant_id int NOT NULL,
    size      bigint NOT NULL CHECK (size >= 0),
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    root      bytea NOT NULL CHECK (octet_length(root) = 32),
    note      text NOT NULL,
    CONSTRAINT checkpoints_place PRIMARY KEY (tenant_id, size, signed_at)
);

-- How far followers of the log (the dispatcher) have come. Not part of the log: it may be lost and is made again.
CREATE TABLE ledger.followers (
    tenant_id int NOT NULL,
    follower  text COLLATE "C" NOT NULL,
    position  bigint NOT NULL CHECK (position >= 0),
    CONSTRAINT followers_name PRIMARY KEY (tenant_id, follower)
) WITH (fillfactor = 50);
ALTER TABLE ledger.followers OWNER TO quarterdeck_owner;
ALTER TABLE ledger.followers ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.followers FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON ledger.followers USING (tenant_id = (SELECT ledger.current_tenant_id()));
GRANT SELECT, INSERT, UPDATE ON ledger.followers TO quarterdeck_app;

CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the log is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = 'QD002';
END $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['heads', 'events', 'tags', 'tree_nodes', 'checkpoints'] LOOP
        EXECUTE format('ALTER TABLE ledger.%I OWNER TO quarterdeck_owner', name);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE ledger.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON ledger.%I USING (tenant_id = (SELECT ledger.current_tenant_id()))', name);
        EXECUTE format('GRANT SELECT ON ledger.%I TO quarterdeck_app', name);
        IF name <> 'heads' THEN
            EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.%I '
                           'FOR EACH ROW EXECUTE FUNCTION ledger.refuse()', name);
        END IF;
        EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON ledger.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()', name);
    END LOOP;
END $$;
GRANT INSERT ON ledger.checkpoints TO quarterdeck_app;
