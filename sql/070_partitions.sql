-- ============================================
-- File: 070_partitions.sql
-- Description: Partitions of audit_log (months) and event_outbox (days) ahead of time, and the end of old events
-- Dependencies: 010_roles.sql; tables audit_log and event_outbox (migration audit_events)
-- ============================================

-- Makes one partition unless it exists. Rows that went to the default partition in the meantime move into it.
CREATE OR REPLACE FUNCTION ensure_partition(parent text, key text, part text, from_day date, to_day date)
RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    lower_bound text := from_day || ' 00:00:00+00';
    upper_bound text := to_day || ' 00:00:00+00';
    spare text := parent || '_default';
BEGIN
    IF to_regclass('public.' || quote_ident(part)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part, parent);
    -- FORCE binds the owner too and would hide the rows that are to move.
    EXECUTE format('ALTER TABLE public.%I NO FORCE ROW LEVEL SECURITY', spare);
    EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE %I >= %L AND %I < %L RETURNING *)
                    INSERT INTO public.%I SELECT * FROM moved', spare, key, lower_bound, key, upper_bound, part);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', spare);
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, part, lower_bound, upper_bound);
END
$$;

-- This month and the next two of audit_log; today and the given number of days ahead of event_outbox, whose
-- partitions older than 30 days go. Called daily as aisha_system; returns the partitions that exist afterwards.
CREATE OR REPLACE FUNCTION ensure_partitions(days integer DEFAULT 14) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '5s' SET timezone = 'UTC'
AS $$
DECLARE
    today date := current_date;
    first date;
    old_part text;
BEGIN
    FOR ahead IN 0..2 LOOP
        first := date_trunc('month', today) + make_interval(months => ahead);
        PERFORM ensure_partition('audit_log', 'changed_at', 'audit_log_' || to_char(first, 'YYYY_MM'),
                                 first, (first + interval '1 month')::date);
    END LOOP;
    FOR ahead IN 0..days LOOP
        first := today + ahead;
        PERFORM ensure_partition('event_outbox', 'created_at', 'event_outbox_' || to_char(first, 'YYYY_MM_DD'),
                                 first, first + 1);
    END LOOP;
    FOR old_part IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.event_outbox'::regclass
          AND c.relname ~ '^event_outbox_\d{4}_\d\d_\d\d$'
          AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < today - 30
    LOOP
        EXECUTE format('DROP TABLE public.%I', old_part);
    END LOOP;
    RETURN (SELECT count(*) FROM pg_inherits
            WHERE inhparent IN ('public.event_outbox'::regclass, 'public.audit_log'::regclass));
END
$$;

GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO aisha_system;
