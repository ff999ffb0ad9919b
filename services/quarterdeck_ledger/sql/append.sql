-- The only way into the log. One call is one batch of one tenant: several callers, each with its events, its
-- condition and its last moment; each gets its own answer, and a caller's events are all or none.
--
-- Arrays are parallel. `caller_events`: events per caller. An event's entry is prefix || position and recorded_at ||
-- suffix, so the bytes that are hashed carry the clock read under the lock. `tag_event` and condition `caller`
-- are 1-based. A condition item: `after`, a probe tag, further tags ('{1,2}'), types joined by U+001F; NULLs widen it.
--
-- Answers: 'ok' | 'repeated' (the ids are there: the caller compares content) | 'conflict' | 'expired' | 'partial'
-- (some of the ids are there, some are not).
CREATE FUNCTION ledger.append(
    p_tenant text,
    caller_events int[], caller_not_after timestamptz[],
    ids uuid[], types text[], prefixes bytea[], suffixes bytea[],
    tag_event int[], tag_hash bigint[],
    cond_caller int[], cond_after bigint[], cond_tag bigint[], cond_more text[], cond_types text[]
) RETURNS TABLE (caller int, status text, first_position bigint, last_position bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
#variable_conflict use_column
DECLARE
    head        record;
    now_at      timestamptz;
    moment      text;
    n_callers   int := cardinality(caller_events);
    already       jsonb;       -- event ordinal -> position, of ids that are there already
    conflicted  int[];
    plain       boolean;     -- nothing stands in anybody's way
    statuses    text[] := '{}';
    firsts      bigint[] := '{}';
    lasts       bigint[] := '{}';
    placed      bigint[] := '{}';  -- position of each event; NULL if it is not recorded
    next_event  int := 1;
    known       int;
    low         bigint;
    high        bigint;
    top         bigint;
    leaves      bytea[];
    stack       bytea[];
    depth       int;
    size        bigint;
    carry       bigint;
    level       int;
    hash        bytea;
BEGIN
    PERFORM set_config('quarterdeck.tenant', p_tenant, true);
    SELECT h.position, h.recorded_at, h.frontier INTO head
        FROM ledger.heads h WHERE h.tenant_id = p_tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO ledger.tenants VALUES (p_tenant) ON CONFLICT DO NOTHING;
        INSERT INTO ledger.heads VALUES (p_tenant, 0, '-infinity', '{}') ON CONFLICT DO NOTHING;
        SELECT h.position, h.recorded_at, h.frontier INTO head
            FROM ledger.heads h WHERE h.tenant_id = p_tenant FOR NO KEY UPDATE;
    END IF;
    now_at := greatest(clock_timestamp(), head.recorded_at);
    moment := to_char(now_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

    -- Ids come before conditions: who repeats itself hears where its events already are.
    SELECT jsonb_object_agg(u.ord, e.position) INTO already
        FROM unnest(ids) WITH ORDINALITY AS u(id, ord)
        CROSS JOIN LATERAL (
            SELECT e.position FROM ledger.events e WHERE e.tenant_id = p_tenant AND e.id = u.id LIMIT 1
        ) e;

    -- LATERAL ... LIMIT 1 keeps the plan to one index probe per item whatever the statistics say.
    IF cardinality(cond_caller) > 0 THEN
        SELECT array_agg(q.caller) INTO conflicted
            FROM unnest(cond_caller, cond_after, cond_tag, cond_more, cond_types)
                AS q(caller, after, tag, more, types)
            CROSS JOIN LATERAL (
                (SELECT 1 FROM ledger.tags t
                    WHERE q.tag IS NOT NULL AND t.tenant_id = p_tenant AND t.tag = q.tag AND t.position > q.after
                    AND (q.more IS NULL OR NOT EXISTS (
                        SELECT 1 FROM unnest(q.more::bigint[]) AS m(tag) WHERE NOT EXISTS (
                            SELECT 1 FROM ledger.tags o
                                WHERE o.tenant_id = p_tenant AND o.tag = m.tag AND o.position = t.position)))
                    AND (q.types IS NULL OR EXISTS (
                        SELECT 1 FROM ledger.events e WHERE e.tenant_id = p_tenant AND e.position = t.position
                            AND e.type = ANY (string_to_array(q.types, E'\x1f'))))
                    LIMIT 1)
                UNION ALL
                (SELECT 1 FROM unnest(string_to_array(q.types, E'\x1f')) AS k(type)
                    CROSS JOIN LATERAL (SELECT 1 FROM ledger.events e
                        WHERE e.tenant_id = p_tenant AND e.type = k.type AND e.position > q.after LIMIT 1) e
                    WHERE q.tag IS NULL AND q.types IS NOT NULL LIMIT 1)
                UNION ALL
                (SELECT 1 WHERE q.tag IS NULL AND q.types IS NULL AND head.position > q.after)
                LIMIT 1
            ) AS hit;
    END IF;

    top := head.position;
    plain := already IS NULL AND conflicted IS NULL;
    FOR i IN 1 .. n_callers LOOP
        known := 0;
        IF NOT plain AND already IS NOT NULL THEN
            SELECT count(*), min(f.value::bigint), max(f.value::bigint) INTO known, low, high
                FROM jsonb_each_text(already) f
                WHERE f.key::int BETWEEN next_event AND next_event + caller_events[i] - 1;
        END IF;
        IF known > 0 THEN
            statuses[i] := CASE WHEN known = caller_events[i] AND high - low = known - 1 THEN 'repeated' ELSE 'partial' END;
            firsts[i] := low;
            lasts[i] := high;
        ELSIF NOT plain AND conflicted IS NOT NULL AND i = ANY (conflicted) THEN
            statuses[i] := 'conflict';
        ELSIF caller_not_after[i] < now_at THEN
            statuses[i] := 'expired';
        ELSE
            statuses[i] := 'ok';
            firsts[i] := top + 1;
            lasts[i] := top + caller_events[i];
            FOR j IN 0 .. caller_events[i] - 1 LOOP
                placed[next_event + j] := top + 1 + j;
            END LOOP;
            top := top + caller_events[i];
        END IF;
        next_event := next_event + caller_events[i];
    END LOOP;

    IF top > head.position THEN
        WITH written AS (
            INSERT INTO ledger.events
                SELECT p_tenant, r.position, r.id, r.type, now_at, r.entry, sha256('\x00'::bytea || r.entry)
                FROM (
                    SELECT placed[u.ord] AS position, u.id, u.type,
                        u.prefix || convert_to('"position":' || placed[u.ord] || ',"recorded_at":"' || moment || '",', 'UTF8')
                            || u.suffix AS entry
                    FROM unnest(ids, types, prefixes, suffixes) WITH ORDINALITY AS u(id, type, prefix, suffix, ord)
                    WHERE placed[u.ord] IS NOT NULL
                    OFFSET 0
                ) r
                RETURNING position, leaf_hash
        )
        SELECT array_agg(w.leaf_hash ORDER BY w.position) INTO leaves FROM written w;

        INSERT INTO ledger.tags
            SELECT p_tenant, u.tag, placed[u.event]
            FROM unnest(tag_event, tag_hash) AS u(event, tag)
            WHERE placed[u.event] IS NOT NULL;

        -- RFC 6962, one leaf at a time: a leaf merges with every finished subtree to its left.
        stack := head.frontier;
        depth := cardinality(stack);
        size := head.position;
        FOREACH hash IN ARRAY leaves LOOP
            carry := size;
            level := 0;
            WHILE carry & 1 = 1 LOOP
                hash := sha256('\x01'::bytea || stack[depth] || hash);
                depth := depth - 1;
                carry := carry >> 1;
                level := level + 1;
                IF level & 7 = 0 THEN
                    INSERT INTO ledger.tree_nodes VALUES (p_tenant, level >> 3, size >> level, hash);
                END IF;
            END LOOP;
            depth := depth + 1;
            stack[depth] := hash;
            size := size + 1;
        END LOOP;

        UPDATE ledger.heads SET position = top, recorded_at = now_at, frontier = stack[1:depth]
            WHERE tenant_id = p_tenant;
        PERFORM pg_notify('ledger', p_tenant || ' ' || top);
    END IF;

    FOR i IN 1 .. n_callers LOOP
        caller := i;
        status := statuses[i];
        first_position := firsts[i];
        last_position := lasts[i];
        at := now_at;
        RETURN NEXT;
    END LOOP;
END $$;
ALTER FUNCTION ledger.append OWNER TO quarterdeck_owner;
REVOKE ALL ON FUNCTION ledger.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.append TO quarterdeck_app;
