-- ============================================
-- File: 060_search.sql
-- Description: Text search inside one tenant and one scope: functions that return ids, never rows
-- Dependencies: 020_context.sql; a table made searchable by searchable_table()
-- ============================================
--
-- LIKE is not leakproof, so under row-level security it is never an index condition. aisha_search sees every row of
-- the searchable tables, and its functions write tenant and scope into the query themselves; the caller fetches the
-- ids through its own policies, so a mistake here could leak ids at most.
--
-- Inside a definer function current_user is the owner, so the scope cannot be told from it. Each scope therefore has
-- its own entrance, open only to the policy role with that scope; record_search() runs with the caller's rights and
-- only picks the entrance. search_ids() and search_count(), which take the scope as an argument, are closed to all.

DROP FUNCTION IF EXISTS search_scope(text);

-- The columns that say whose a row is.
CREATE OR REPLACE FUNCTION search_owners(tbl text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, public
AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = format('public.%I', tbl)::regclass AND NOT attisdropped
      AND attname IN ('assigned_to', 'created_by', 'related_assigned_to', 'related_created_by')
$$;

-- The WHERE clause of a search, with literals: the planner is to see real values.
CREATE OR REPLACE FUNCTION search_scope(owners text, scope text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public
AS $$
DECLARE
    assignee text;
BEGIN
    CASE scope
    WHEN 'all' THEN
        RETURN 'true';
    WHEN 'own' THEN
        assignee := format('= %L::uuid', current_employee_id());
    WHEN 'department' THEN
        assignee := format('= ANY (%L::uuid[])', department_employee_ids());
    END CASE;
    RETURN '(' || (
        SELECT string_agg(CASE WHEN owner LIKE '%assigned_to' THEN owner || ' ' || assignee
                               ELSE format('%s = %L::uuid', owner, current_user_id()) END, ' OR ')
        FROM unnest(string_to_array(owners, ', ')) AS owner) || ')';
END
$$;

-- A LIKE pattern for a text that occurs anywhere, as a literal.
CREATE OR REPLACE FUNCTION anywhere(word text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, public
AS $$ SELECT quote_literal('%' || regexp_replace(word, '([\\%_])', '\\\1', 'g') || '%') $$;

-- Every word is a substring of search_text; no words match every row. Of an e-mail address only the part before the @ is
-- looked up in the trigram index, and the whole then compared: the trigrams of a domain are in half of all rows, and the
-- index reads the list of each (measured: 68 to 190 ms against 4 to 34). Concatenation keeps the second condition from
-- the index.
CREATE OR REPLACE FUNCTION search_words(words text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, public
AS $$
    SELECT coalesce(string_agg(
        CASE WHEN word ~ '^[^@]{4,}@.{4,}$'
             THEN format('search_text LIKE %s AND search_text || %L LIKE %s', anywhere(split_part(word, '@', 1) || '@'),
                         '', anywhere(word))
             ELSE format('search_text LIKE %s', anywhere(word)) END, ' AND '), 'true')
    FROM (SELECT lower(w) AS word FROM unnest(words) AS w WHERE w <> '') AS given
$$;

-- Newest first, continued after (before_created, before_id) when these are given. No statistics tell how common a
-- substring is (the planner keeps them from a table with policies), so the newest rows of the tenant are read in order
-- first. A full page among them: the term is common, and the answer is there. A quarter of a page: four times as many
-- rows should hold the rest. Less: the term is rare enough for the trigram index.
CREATE OR REPLACE FUNCTION search_ids(tbl text, scope text, words text[], before_created timestamptz,
                                      before_id uuid, max_rows integer) RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public SET jit = off
AS $$
DECLARE
    live text := format('tenant_id = %L::uuid AND deleted_at IS NULL', current_tenant_id());
    owners text := search_owners(tbl);
    wanted text := search_scope(owners, scope) || ' AND ' || search_words(words);
    newest text := format('ORDER BY created_at DESC, id DESC LIMIT %s', max_rows);
    probed integer;
    found uuid[];
BEGIN
    IF before_created IS NOT NULL THEN
        live := live || format(' AND (created_at, id) < (%L::timestamptz, %L::uuid)', before_created, before_id);
    END IF;
    FOREACH probed IN ARRAY '{1000,4000,16000}'::integer[] LOOP
        EXECUTE format(
            'SELECT array(SELECT id FROM (SELECT id, created_at, %s, search_text FROM public.%I
                                          WHERE %s ORDER BY created_at DESC, id DESC LIMIT %s) AS recent
                          WHERE %s %s)', owners, tbl, live, probed, wanted, newest) INTO found;
        IF cardinality(found) >= max_rows THEN
            RETURN QUERY SELECT unnest(found);
            RETURN;
        END IF;
        EXIT WHEN cardinality(found) < max_rows / 4.0;
    END LOOP;
    RETURN QUERY EXECUTE format('SELECT id FROM public.%I WHERE %s AND %s %s', tbl, live, wanted, newest);
END
$$;

-- How many there are, counted no further than cap. As above: where the newest rows promise to reach the cap they are read
-- on in order, else the trigram index finds them all.
CREATE OR REPLACE FUNCTION search_count(tbl text, scope text, words text[], cap integer) RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public SET jit = off
AS $$
DECLARE
    live text := format('tenant_id = %L::uuid AND deleted_at IS NULL', current_tenant_id());
    owners text := search_owners(tbl);
    wanted text := search_scope(owners, scope) || ' AND ' || search_words(words);
    probed integer;
    found integer;
BEGIN
    FOREACH probed IN ARRAY '{1000,16000}'::integer[] LOOP
        EXECUTE format(
            'SELECT count(*)::integer
             FROM (SELECT FROM (SELECT %s, search_text FROM public.%I
                                WHERE %s ORDER BY created_at DESC, id DESC LIMIT %s) AS recent
                   WHERE %s LIMIT %s) AS hits', owners, tbl, live, probed, wanted, cap) INTO found;
        IF found >= cap THEN
            RETURN found;
        END IF;
        EXIT WHEN found < probed / 16000.0 * cap;
    END LOOP;
    EXECUTE format('SELECT count(*)::integer FROM (SELECT FROM public.%I WHERE %s AND %s LIMIT %s) AS hits',
                   tbl, live, wanted, cap) INTO found;
    RETURN found;
END
$$;

CREATE OR REPLACE FUNCTION search_all(tbl text, words text[], before_created timestamptz, before_id uuid,
                                      max_rows integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_ids(tbl, 'all', words, before_created, before_id, max_rows) $$;

CREATE OR REPLACE FUNCTION search_own(tbl text, words text[], before_created timestamptz, before_id uuid,
                                      max_rows integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_ids(tbl, 'own', words, before_created, before_id, max_rows) $$;

CREATE OR REPLACE FUNCTION search_department(tbl text, words text[], before_created timestamptz, before_id uuid,
                                             max_rows integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_ids(tbl, 'department', words, before_created, before_id, max_rows) $$;

CREATE OR REPLACE FUNCTION search_count_all(tbl text, words text[], cap integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_count(tbl, 'all', words, cap) $$;

CREATE OR REPLACE FUNCTION search_count_own(tbl text, words text[], cap integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_count(tbl, 'own', words, cap) $$;

CREATE OR REPLACE FUNCTION search_count_department(tbl text, words text[], cap integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public
AS $$ SELECT search_count(tbl, 'department', words, cap) $$;

-- What services call: the ids of at most max_rows live rows that hold every word, newest first.
CREATE OR REPLACE FUNCTION record_search(tbl text, words text[], before_created timestamptz DEFAULT NULL,
                                         before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS SETOF uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public
AS $$
BEGIN
    CASE current_user
    WHEN 'aisha_own' THEN
        RETURN QUERY SELECT search_own(tbl, words, before_created, before_id, max_rows);
    WHEN 'aisha_department' THEN
        RETURN QUERY SELECT search_department(tbl, words, before_created, before_id, max_rows);
    ELSE
        RETURN QUERY SELECT search_all(tbl, words, before_created, before_id, max_rows);
    END CASE;
END
$$;

-- What services call: how many live rows hold every word, at most cap.
CREATE OR REPLACE FUNCTION record_search_count(tbl text, words text[], cap integer DEFAULT 10001) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public
AS $$
BEGIN
    CASE current_user
    WHEN 'aisha_own' THEN
        RETURN search_count_own(tbl, words, cap);
    WHEN 'aisha_department' THEN
        RETURN search_count_department(tbl, words, cap);
    ELSE
        RETURN search_count_all(tbl, words, cap);
    END CASE;
END
$$;

-- For a migration, after tenant_table(tbl, 'owned' or 'attached', …): tbl has search_text, a stored lower-case column.
CREATE OR REPLACE FUNCTION searchable_table(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    plain text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s USING gin (tenant_id, search_text gin_trgm_ops)',
                   plain || '_search', tbl);
    EXECUTE format('GRANT SELECT (tenant_id, id, assigned_to, created_by, created_at, deleted_at, search_text)
        ON %s TO aisha_search', tbl);
END
$$;

GRANT EXECUTE ON FUNCTION record_search(text, text[], timestamptz, uuid, integer),
    record_search_count(text, text[], integer) TO aisha_all, aisha_own, aisha_department, aisha_system;
GRANT EXECUTE ON FUNCTION search_owners(text), search_scope(text, text), search_words(text[]), anywhere(text) TO aisha_search;
GRANT EXECUTE ON FUNCTION search_all(text, text[], timestamptz, uuid, integer),
    search_count_all(text, text[], integer) TO aisha_all, aisha_system;
GRANT EXECUTE ON FUNCTION search_own(text, text[], timestamptz, uuid, integer),
    search_count_own(text, text[], integer) TO aisha_own;
GRANT EXECUTE ON FUNCTION search_department(text, text[], timestamptz, uuid, integer),
    search_count_department(text, text[], integer) TO aisha_department;
