-- ============================================
-- File: 045_audit_chain.sql
-- Description: Sealing the audit log into one hash chain per tenant, and erasing values without breaking the proof
-- Dependencies: 020_context.sql; tables audit_log, audit_chain, audit_chain_state, audit_sealing (migration audit_chain)
-- ============================================
--
-- What is hashed, so that anybody can compute it again. Texts are UTF-8, SHA-256 throughout:
--
--   part(x)        "-," for null, else "<length in bytes>:<text>,"
--   row digest     of "aisha-audit-row-1," and the parts, in this order, of: id, tenant_id, action, table_name, record_id,
--                  entity, changed_by, changed_at, role, request_id, ip, user_agent, impersonator, reason.
--                  UUIDs in lower case with hyphens; changed_at as microseconds since 1970-01-01T00:00:00Z
--   values digest  of the salt (16 bytes) and part(old_values), part(new_values), as PostgreSQL prints jsonb
--   hash           of the previous hash, the link's number (8 bytes, big-endian), the row's id (16 bytes), the row digest
--                  and the values digest; before link 1 stands the digest of "aisha-audit-chain-1,<tenant_id>", and what
--                  concerns no tenant is chained under 00000000-0000-0000-0000-000000000000
--
-- The values stand behind a salted digest so that they can be erased: without the salt, which goes with them, not even a
-- short value can be guessed from what stays.

-- The cast is what lets it be put into the query that calls it: a number || text is not immutable to PostgreSQL, and a call
-- costs ten times as much as what it does.
CREATE OR REPLACE FUNCTION audit_part(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT coalesce(octet_length(value)::text || ':' || value, '-') || ',' $$;

CREATE OR REPLACE FUNCTION audit_row_digest(
    id uuid, tenant_id uuid, action text, table_name text, record_id uuid, entity text, changed_by uuid,
    changed_at timestamptz, role text, request_id text, ip text, user_agent text, impersonator uuid, reason text
) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT sha256(convert_to('aisha-audit-row-1,' || audit_part(id::text) || audit_part(tenant_id::text)
        || audit_part(action) || audit_part(table_name) || audit_part(record_id::text) || audit_part(entity)
        || audit_part(changed_by::text) || audit_part((extract(epoch FROM changed_at) * 1000000)::bigint::text)
        || audit_part(role) || audit_part(request_id) || audit_part(ip) || audit_part(user_agent)
        || audit_part(impersonator::text) || audit_part(reason), 'UTF8'))
$$;

CREATE OR REPLACE FUNCTION audit_values_digest(salt bytea, old_values jsonb, new_values jsonb) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT sha256(salt || convert_to(audit_part(old_values::text) || audit_part(new_values::text), 'UTF8')) $$;

CREATE OR REPLACE FUNCTION audit_chain_start(tenant_id uuid) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT sha256(convert_to('aisha-audit-chain-1,' || tenant_id, 'UTF8')) $$;

-- What a link adds to the hash before it.
CREATE OR REPLACE FUNCTION audit_link(link bigint, audit_id uuid, row_digest bytea, values_digest bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT int8send(link) || uuid_send(audit_id) || row_digest || values_digest $$;

CREATE OR REPLACE FUNCTION audit_chain_next(previous bytea, added bytea, head bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT sha256(coalesce(previous, head) || added) $$;

-- The running hash over links in order, from the hash before the first of them on.
CREATE OR REPLACE AGGREGATE audit_chain_hash(added bytea, head bytea) (
    sfunc = audit_chain_next, stype = bytea, parallel = safe
);

-- Seals up to that many rows, of all tenants, in one statement; called again until it returns less than it was asked for.
-- Returns null while another process is at it.
--
-- A row appears when its transaction commits, in any order of changed_at. Everything below the oldest transaction that is
-- still running is complete, so rows are taken by transaction up to there, and none can turn up behind the place that was
-- reached (audit_sealing). Who dies half-way rolls back: place and links are of one transaction.
--
-- In a database that was restored from a dump transaction numbers begin anew. The place is then ahead of all of them: what
-- lies beyond it was not sealed when the dump was made and is complete; after that the place is set to the beginning, and
-- rows that have a link are passed over.
CREATE OR REPLACE FUNCTION audit_seal(batch integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, public
-- A batch follows the index, and looks up what it needs: the planner expects a handful of rows behind the place, and would
-- sort what may be a million, or read tables whole.
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    place record;
    last record;
    complete bigint;
    restored boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7304, 0) THEN
        RETURN NULL;
    END IF;
    SELECT s.transaction_id, s.changed_at, s.audit_id INTO STRICT place FROM audit_sealing s;
    SELECT pg_snapshot_xmin(s)::text::bigint, place.transaction_id > pg_snapshot_xmax(s)::text::bigint
    INTO complete, restored FROM pg_current_snapshot() AS s;
    IF restored THEN
        complete := 9223372036854775807;
    END IF;

    WITH passed AS MATERIALIZED (
        SELECT *, row_number() OVER (ORDER BY transaction_id, changed_at, id) AS position
        FROM (SELECT l.*, coalesce(l.tenant_id, '00000000-0000-0000-0000-000000000000') AS chain FROM audit_log l
              WHERE l.transaction_id >= place.transaction_id AND l.transaction_id < complete
                AND (l.transaction_id, l.changed_at, l.id) > (place.transaction_id, place.changed_at, place.audit_id)
              ORDER BY l.transaction_id, l.changed_at, l.id LIMIT batch) AS taken
    ), unlinked AS (
        SELECT p.*, row_number() OVER (PARTITION BY chain ORDER BY position) AS n, uuid_send(gen_random_uuid()) AS salt
        FROM passed p
        WHERE NOT EXISTS (SELECT FROM audit_chain c
                          WHERE c.tenant_id = p.chain AND c.changed_at = p.changed_at AND c.audit_id = p.id)
    ), digested AS MATERIALIZED (
        SELECT chain, n, id, changed_at, salt,
               audit_row_digest(id, tenant_id, action, table_name, record_id, entity, changed_by, changed_at, role,
                                request_id, ip, user_agent, impersonator, reason) AS row_digest,
               audit_values_digest(salt, old_values, new_values) AS values_digest
        FROM unlinked
    ), numbered AS (
        -- The further of the two: whoever cut off the end of the chain leaves a gap that verification names.
        SELECT d.*, first_value(CASE WHEN n = 1 THEN coalesce(h.link, 0) END) OVER of_chain + n AS link,
               CASE WHEN n = 1 THEN coalesce(h.hash, audit_chain_start(chain)) END AS head
        FROM digested d
        LEFT JOIN LATERAL (
            SELECT * FROM (
                (SELECT s.link, s.hash FROM audit_chain_state s WHERE s.tenant_id = d.chain)
                UNION ALL
                (SELECT c.link, c.hash FROM audit_chain c WHERE c.tenant_id = d.chain ORDER BY c.link DESC LIMIT 1)
            ) AS known WHERE d.n = 1 ORDER BY known.link DESC LIMIT 1
        ) AS h ON true
        WINDOW of_chain AS (PARTITION BY d.chain ORDER BY d.n)
    ), linked AS MATERIALIZED (
        SELECT *, audit_chain_hash(audit_link(link, id, row_digest, values_digest), head) OVER of_chain AS hash
        FROM numbered WINDOW of_chain AS (PARTITION BY chain ORDER BY n)
    ), added AS (
        INSERT INTO audit_chain (tenant_id, link, audit_id, changed_at, row_digest, values_digest, salt, previous_hash, hash)
        SELECT chain, link, id, changed_at, row_digest, values_digest, salt,
               coalesce(head, lag(hash) OVER (PARTITION BY chain ORDER BY n)), hash
        FROM linked
    ), heads AS (
        INSERT INTO audit_chain_state AS s (tenant_id, link, hash)
        SELECT DISTINCT ON (chain) chain, link, hash FROM linked ORDER BY chain, link DESC
        ON CONFLICT (tenant_id) DO UPDATE SET link = excluded.link, hash = excluded.hash, sealed_at = excluded.sealed_at
    )
    SELECT transaction_id, changed_at, id, position INTO last FROM passed ORDER BY position DESC LIMIT 1;

    IF last.position IS NOT NULL THEN
        UPDATE audit_sealing SET transaction_id = last.transaction_id, changed_at = last.changed_at, audit_id = last.id,
                                 reached_at = clock_timestamp();
    ELSIF restored THEN
        UPDATE audit_sealing SET transaction_id = 0, changed_at = '-infinity',
                                 audit_id = '00000000-0000-0000-0000-000000000000', reached_at = clock_timestamp();
        RETURN batch;
    END IF;
    RETURN coalesce(last.position, 0);
END
$$;

-- Erases the values of one record from the audit log: that something was done, by whom and when stays, and so does the
-- chain. Open to the owner of the schema only, who runs it by hand:
--   SELECT audit_redact('<tenant>', 'contacts', '<record>', 'request for erasure 2026-17');
-- Returns how many rows lost their values. It is itself audited, and verification asks for that entry.
CREATE OR REPLACE FUNCTION audit_redact(tenant uuid, redacted_table text, record uuid, why text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    erased bigint;
BEGIN
    IF tenant IS NULL OR redacted_table IS NULL OR record IS NULL OR coalesce(trim(why), '') = '' THEN
        RAISE EXCEPTION 'audit_redact needs a tenant, a table, a record and a reason';
    END IF;
    -- Not while rows are being sealed: a digest of values that are gone a moment later would look like tampering.
    PERFORM pg_advisory_xact_lock(7304, 0);
    WITH emptied AS (
        UPDATE audit_log SET old_values = NULL, new_values = NULL
        WHERE tenant_id = tenant AND record_id = record AND table_name = redacted_table AND action <> 'redact'
          AND (old_values IS NOT NULL OR new_values IS NOT NULL)
        RETURNING changed_at, id
    ), unsalted AS (
        UPDATE audit_chain c SET salt = NULL FROM emptied e
        WHERE c.tenant_id = tenant AND c.changed_at = e.changed_at AND c.audit_id = e.id
    )
    SELECT count(*) INTO erased FROM emptied;
    INSERT INTO audit_log (tenant_id, action, table_name, record_id, role, reason, new_values)
    VALUES (tenant, 'redact', redacted_table, record, session_user, why, jsonb_build_object('rows', erased));
    RETURN erased;
END
$$;

GRANT EXECUTE ON FUNCTION audit_part(text), audit_chain_start(uuid), audit_link(bigint, uuid, bytea, bytea),
    audit_row_digest(uuid, uuid, text, text, uuid, text, uuid, timestamptz, text, text, text, text, uuid, text),
    audit_values_digest(bytea, jsonb, jsonb), audit_chain_next(bytea, bytea, bytea), audit_chain_hash(bytea, bytea),
    audit_seal(integer) TO aisha_system;
