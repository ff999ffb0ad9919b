-- The only way into the log. One call is one batch of one tenant: several callers, each with its events, its
-- condition and its last moment; each gets its own answer, and a caller's events are all or none.
--
-- Arrays are parallel. `caller_events`: events per caller. An event's entry is prefix || position and recorded_at ||
-- suffix, so the bytes that are hashed carry the clock read under the lock. `tags`: an event's keys, as an array's text.
-- A condition item: the 1-based `caller`, `after`, a probe tag, further tags, types joined by U+001F; NULLs widen it.
-- Trailing NULLs of the callers' last moments and of further tags and types may be left out.
--
-- Answers: 'ok' | 'repeated' (the ids are there: the caller compares content) | 'conflict' | 'expired' | 'partial'
-- (some of the ids are there, some are not).
--
-- Plans are generic and every probe is LATERAL ... LIMIT 1: an index probe whatever the statistics say. Planning
-- each time costs more than the work, and a plan made for an empty table reads a full one.
CREATE FUNCTION ledger.append(
    p_tenant text,
    caller_events int[], caller_not_after timestamptz[],
    ids uuid[], types text[], prefixes bytea[], suffixes bytea[], tags text[],
    cond_caller int[], cond_after bigint[], cond_tag uuid[], cond_more text[], cond_types text[]
) RETURNS TABLE (caller int, status text, first_position bigint, last_position bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    tenant     int;
    head       record;
    now_at     timestamptz;
    moment     text;
    conflicted int[];          -- callers whose condition is met by a recorded event
    late       int[];          -- callers whose last moment has passed
    suspects   int[];          -- callers whose ids are looked up: those above, or all after a collision
    verdicts   jsonb := '{}';  -- caller -> {status, first, last}, of those that do not pass
    w_ids      uuid[] := ids;  -- what is written: everything, less the events of callers that do not pass
    w_types    text[] := types;
    w_prefixes bytea[] := prefixes;
    w_suffixes bytea[] := suffixes;
    w_tags     text[] := tags;
    leaves     bytea[];
    stack      bytea[];
    depth      int;
    size       bigint;
    carry      bigint;
    level      int;
    hash       bytea;
BEGIN
    tenant := ledger.enter(p_tenant);
    SELECT h.position, h.recorded_at, h.frontier INTO head
        FROM ledger.heads h WHERE h.tenant_id = tenant FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        tenant := ledger.begin_log(p_tenant);
        SELECT h.position, h.recorded_at, h.frontier INTO head
            FROM ledger.heads h WHERE h.tenant_id = tenant FOR NO KEY UPDATE;
    END IF;
    now_at := greatest(clock_timestamp(), head.recorded_at);
    moment := to_char(now_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

    IF cardinality(cond_caller) > 0 THEN
        SELECT array_agg(q.caller) INTO conflicted
            FROM unnest(cond_caller, cond_after, cond_tag, cond_more, cond_types)
                AS q(caller, after, tag, more, types)
            CROSS JOIN LATERAL (
                SELECT 1 FROM ledger.tags t
                    WHERE t.tenant_id = tenant AND t.tag = q.tag AND t.position > q.after
                    AND (q.more IS NULL AND q.types IS NULL OR ledger.fits(tenant, t.position, q.more, q.types))
                    LIMIT 1
            ) AS hit;
        IF array_position(cond_tag, NULL) IS NOT NULL THEN
            SELECT array_agg(q.caller) || conflicted INTO conflicted
                FROM unnest(cond_caller, cond_after, cond_tag, cond_types) AS q(caller, after, tag, types)
                WHERE q.tag IS NULL AND CASE WHEN q.types IS NULL THEN head.position > q.after ELSE EXISTS (
                    SELECT 1 FROM unnest(string_to_array(q.types, E'\x1f')) AS k(type)
                        CROSS JOIN LATERAL (SELECT 1 FROM ledger.events e
                            WHERE e.tenant_id = tenant AND e.type = k.type AND e.position > q.after LIMIT 1) e) END;
        END IF;
    END IF;
    SELECT array_agg(l.caller::int) INTO late
        FROM unnest(caller_not_after) WITH ORDINALITY AS l(moment, caller) WHERE l.moment < now_at;
    suspects := conflicted || late;

    LOOP
        IF suspects IS NOT NULL THEN
            verdicts := ledger.verdicts(tenant, caller_events, ids, suspects, conflicted, late);
            SELECT array_agg(u.id ORDER BY u.ord), array_agg(u.type ORDER BY u.ord),
                    array_agg(u.prefix ORDER BY u.ord), array_agg(u.suffix ORDER BY u.ord),
                    array_agg(u.tags ORDER BY u.ord)
                INTO w_ids, w_types, w_prefixes, w_suffixes, w_tags
                FROM unnest(ids, types, prefixes, suffixes, tags) WITH ORDINALITY
                    AS u(id, type, prefix, suffix, tags, ord)
                JOIN ledger.owners(caller_events) AS o ON o.event = u.ord
                WHERE NOT verdicts ? o.caller::text;
        END IF;
        EXIT WHEN w_ids IS NULL;
        BEGIN
            WITH written AS (
                INSERT INTO ledger.events
                    SELECT tenant, r.position, r.id, r.type, now_at, r.entry, sha256('\x00'::bytea || r.entry)
                    FROM (
                        SELECT head.position + u.ord AS position, u.id, u.type,
                            u.prefix || convert_to('"position":' || head.position + u.ord || ',"recorded_at":"'
                                || moment || '",', 'UTF8') || u.suffix AS entry
                        FROM unnest(w_ids, w_types, w_prefixes, w_suffixes) WITH ORDINALITY
                            AS u(id, type, prefix, suffix, ord)
                        OFFSET 0
                    ) r
                    RETURNING position, leaf_hash
            )
            SELECT array_agg(w.leaf_hash ORDER BY w.position) INTO leaves FROM written w;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            -- Somebody repeats an id without meeting a condition. Now every id is looked up; then nothing can collide.
            SELECT array_agg(i) INTO suspects FROM generate_subscripts(caller_events, 1) AS i;
        END;
    END LOOP;

    IF leaves IS NOT NULL THEN
        INSERT INTO ledger.tags
            SELECT tenant, unnest(u.tags::uuid[]), head.position + u.ord
            FROM unnest(w_tags) WITH ORDINALITY AS u(tags, ord);

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
                    INSERT INTO ledger.tree_nodes VALUES (tenant, level >> 3, size >> level, hash);
                END IF;
            END LOOP;
            depth := depth + 1;
            stack[depth] := hash;
            size := size + 1;
        END LOOP;

        UPDATE ledger.heads SET position = size, recorded_at = now_at, frontier = stack[1:depth]
            WHERE tenant_id = tenant;
        PERFORM pg_notify('ledger', p_tenant || ' ' || size);
    END IF;

    RETURN QUERY
        SELECT c.caller::int, coalesce(v.verdict ->> 'status', 'ok'),
            CASE WHEN v.verdict IS NULL THEN head.position + c.before + 1 ELSE (v.verdict ->> 'first')::bigint END,
            CASE WHEN v.verdict IS NULL THEN head.position + c.before + c.events ELSE (v.verdict ->> 'last')::bigint END,
            now_at
        FROM (
            SELECT n.caller, n.events, coalesce(sum(CASE WHEN verdicts ? n.caller::text THEN 0 ELSE n.events END)
                OVER (ORDER BY n.caller ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
            FROM unnest(caller_events) WITH ORDINALITY AS n(events, caller)
        ) c
        CROSS JOIN LATERAL (SELECT verdicts -> c.caller::text AS verdict) v
        ORDER BY c.caller;
END $$;
ALTER FUNCTION ledger.append OWNER TO quarterdeck_owner;
REVOKE ALL ON FUNCTION ledger.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.append TO quarterdeck_app;

-- Which caller each event of a batch belongs to.
CREATE FUNCTION ledger.owners(caller_events int[]) RETURNS TABLE (event bigint, caller int)
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT row_number() OVER (ORDER BY n.caller, e), n.caller::int
    FROM unnest(caller_events) WITH ORDINALITY AS n(events, caller), generate_series(1, n.events) AS e
$$;

-- Why the suspects among a batch's callers do not pass. Ids come before conditions: whoever repeats itself hears where
-- its events already are. A suspect with nothing against it is left out: it passes.
CREATE FUNCTION ledger.verdicts(
    p_tenant int, caller_events int[], ids uuid[], suspects int[], conflicted int[], late int[]
) RETURNS jsonb LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_object_agg(s.caller, jsonb_build_object('status', CASE
            WHEN s.known = s.events AND s.high - s.low = s.events - 1 THEN 'repeated'
            WHEN s.known > 0 THEN 'partial'
            WHEN s.caller = ANY (conflicted) THEN 'conflict'
            ELSE 'expired' END, 'first', s.low, 'last', s.high)), '{}')
    FROM (
        SELECT o.caller, count(*) AS events, count(e.position) AS known, min(e.position) AS low, max(e.position) AS high
        FROM ledger.owners(caller_events) AS o
        JOIN unnest(ids) WITH ORDINALITY AS i(id, event) USING (event)
        LEFT JOIN LATERAL (
            SELECT e.position FROM ledger.events e WHERE e.tenant_id = p_tenant AND e.id = i.id LIMIT 1
        ) e ON true
        WHERE o.caller = ANY (suspects)
        GROUP BY o.caller
    ) s
    WHERE s.known > 0 OR s.caller = ANY (conflicted) OR s.caller = ANY (late)
$$;

-- Begin a tenant's log: there must be a row to lock, so that two who decide on an empty log are rivals, too.
CREATE FUNCTION ledger.begin_log(p_tenant text) RETURNS int LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    tenant int;
BEGIN
    INSERT INTO ledger.tenants (name) VALUES (p_tenant) ON CONFLICT DO NOTHING;
    tenant := ledger.enter(p_tenant);
    INSERT INTO ledger.heads VALUES (tenant, 0, '-infinity', '{}') ON CONFLICT DO NOTHING;
    RETURN tenant;
END $$;
