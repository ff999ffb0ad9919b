-- Reading. Each function takes the tenant, sets it for the transaction and then stands under row-level security.

-- Entries in a range of positions that match a query. Items are arrays as in `ledger.append`; none means everything.
CREATE FUNCTION ledger.read(
    p_tenant text, p_after bigint, p_until bigint, p_limit bigint, p_backwards boolean,
    item_tag uuid[], item_more text[], item_types text[]
) RETURNS TABLE ("position" bigint, entry bytea)
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    tenant int := ledger.enter(p_tenant);
    way int := CASE WHEN p_backwards THEN -1 ELSE 1 END;
BEGIN
    IF cardinality(item_tag) = 0 THEN
        IF p_backwards THEN
            RETURN QUERY SELECT e.position, e.entry FROM ledger.events e
                WHERE e.tenant_id = tenant AND e.position > p_after AND e.position <= p_until
                ORDER BY e.position DESC LIMIT p_limit;
        ELSE
            RETURN QUERY SELECT e.position, e.entry FROM ledger.events e
                WHERE e.tenant_id = tenant AND e.position > p_after AND e.position <= p_until
                ORDER BY e.position LIMIT p_limit;
        END IF;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT e.position, e.entry
        FROM (
            SELECT DISTINCT hit.position * way AS place
            FROM unnest(item_tag, item_more, item_types) AS q(tag, more, types)
            CROSS JOIN LATERAL (
                (SELECT t.position FROM ledger.tags t
                    WHERE NOT p_backwards AND q.tag IS NOT NULL
                    AND t.tenant_id = tenant AND t.tag = q.tag AND t.position > p_after AND t.position <= p_until
                    AND ledger.fits(tenant, t.position, q.more, q.types)
                    ORDER BY t.position LIMIT p_limit)
                UNION ALL
                (SELECT t.position FROM ledger.tags t
                    WHERE p_backwards AND q.tag IS NOT NULL
                    AND t.tenant_id = tenant AND t.tag = q.tag AND t.position > p_after AND t.position <= p_until
                    AND ledger.fits(tenant, t.position, q.more, q.types)
                    ORDER BY t.position DESC LIMIT p_limit)
                UNION ALL
                (SELECT k.position FROM unnest(string_to_array(q.types, E'\x1f')) AS y(type)
                    CROSS JOIN LATERAL (
                        (SELECT e.position FROM ledger.events e
                            WHERE NOT p_backwards AND e.tenant_id = tenant AND e.type = y.type
                            AND e.position > p_after AND e.position <= p_until ORDER BY e.position LIMIT p_limit)
                        UNION ALL
                        (SELECT e.position FROM ledger.events e
                            WHERE p_backwards AND e.tenant_id = tenant AND e.type = y.type
                            AND e.position > p_after AND e.position <= p_until ORDER BY e.position DESC LIMIT p_limit)
                    ) k
                    WHERE q.tag IS NULL AND q.types IS NOT NULL)
                UNION ALL
                (SELECT e.position FROM ledger.events e
                    WHERE q.tag IS NULL AND q.types IS NULL
                    AND e.tenant_id = tenant AND e.position > p_after AND e.position <= p_until
                    ORDER BY e.position * way LIMIT p_limit)
            ) hit
            ORDER BY place LIMIT p_limit
        ) found
        CROSS JOIN LATERAL (
            SELECT e.position, e.entry FROM ledger.events e
                WHERE e.tenant_id = tenant AND e.position = found.place * way LIMIT 1
        ) e
        ORDER BY found.place;
END $$;

-- Whether the event at a position carries all further tags and has one of the types (NULL asks nothing).
CREATE FUNCTION ledger.fits(p_tenant int, p_position bigint, more text, types text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT (more IS NULL OR NOT EXISTS (
            SELECT 1 FROM unnest(more::uuid[]) AS m(tag) WHERE NOT EXISTS (
                SELECT 1 FROM ledger.tags o WHERE o.tenant_id = p_tenant AND o.tag = m.tag AND o.position = p_position)))
        AND (types IS NULL OR EXISTS (
            SELECT 1 FROM ledger.events e WHERE e.tenant_id = p_tenant AND e.position = p_position
                AND e.type = ANY (string_to_array(types, E'\x1f'))))
$$;

-- The end of the log; no row for a tenant without one.
CREATE FUNCTION ledger.head(p_tenant text)
RETURNS TABLE ("position" bigint, recorded_at timestamptz, frontier bytea[])
LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    RETURN QUERY SELECT h.position, h.recorded_at, h.frontier FROM ledger.heads h WHERE h.tenant_id = tenant;
END $$;

-- Lock the log for deciding under it; released at the end of the transaction.
CREATE FUNCTION ledger.lock(p_tenant text) RETURNS TABLE ("position" bigint, now_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    SELECT h.position, h.recorded_at INTO position, now_at
        FROM ledger.heads h WHERE h.tenant_id = tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        tenant := ledger.begin_log(p_tenant);
        SELECT h.position, h.recorded_at INTO position, now_at
            FROM ledger.heads h WHERE h.tenant_id = tenant FOR NO KEY UPDATE;
    END IF;
    now_at := greatest(clock_timestamp(), now_at);
    RETURN NEXT;
END $$;
ALTER FUNCTION ledger.lock OWNER TO quarterdeck_owner;
REVOKE ALL ON FUNCTION ledger.lock FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.lock TO quarterdeck_app;

-- The entry with an id.
CREATE FUNCTION ledger.find(p_tenant text, p_id uuid) RETURNS bytea LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    RETURN (SELECT e.entry FROM ledger.events e WHERE e.tenant_id = tenant AND e.id = p_id);
END $$;

-- The last position recorded at or before a moment: a binary search, as recorded_at never decreases.
CREATE FUNCTION ledger.position_at(p_tenant text, p_moment timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    tenant int := ledger.enter(p_tenant);
    low    bigint := 0;
    high   bigint;
    middle bigint;
BEGIN
    SELECT coalesce(max(h.position), 0) INTO high FROM ledger.heads h WHERE h.tenant_id = tenant;
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT e.recorded_at FROM ledger.events e WHERE e.tenant_id = tenant AND e.position = middle) <= p_moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END $$;

-- Leaf hashes of positions after `p_after` up to `p_until`, in order.
CREATE FUNCTION ledger.leaves(p_tenant text, p_after bigint, p_until bigint)
RETURNS TABLE ("position" bigint, leaf_hash bytea) LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    RETURN QUERY SELECT e.position, e.leaf_hash FROM ledger.events e
        WHERE e.tenant_id = tenant AND e.position > p_after AND e.position <= p_until ORDER BY e.position;
END $$;

-- Stored roots of one tile level, `index` in a range.
CREATE FUNCTION ledger.nodes(p_tenant text, p_level int, p_from bigint, p_until bigint)
RETURNS TABLE (index bigint, hash bytea) LANGUAGE plpgsql SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    RETURN QUERY SELECT n.index, n.hash FROM ledger.tree_nodes n
        WHERE n.tenant_id = tenant AND n.level = p_level AND n.index >= p_from AND n.index < p_until ORDER BY n.index;
END $$;

-- How far a follower has come; 0 at first.
CREATE FUNCTION ledger.follower_position(p_tenant text, p_follower text) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    RETURN coalesce((SELECT f.position FROM ledger.followers f
        WHERE f.tenant_id = tenant AND f.follower = p_follower), 0);
END $$;

-- Remember how far a follower has come; it never goes back.
CREATE FUNCTION ledger.follower_advance(p_tenant text, p_follower text, p_position bigint) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    tenant int := ledger.enter(p_tenant);
BEGIN
    INSERT INTO ledger.followers AS f VALUES (tenant, p_follower, p_position)
        ON CONFLICT ON CONSTRAINT followers_name DO UPDATE SET position = greatest(f.position, excluded.position);
END $$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO quarterdeck_app;
