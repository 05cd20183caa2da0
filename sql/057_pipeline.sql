-- ============================================
-- File: 057_pipeline.sql
-- Description: The stages of a tenant's pipeline, what follows from a stage, and when an activity is due
-- Dependencies: 010_roles.sql; tables module_settings, tenant, opportunities, opportunity_stage_history, activities
-- ============================================
--
-- In the database, so that the API, imports, bulk requests and other services follow the same rules.

-- The stages in force, in order: those of module_settings ('opportunities', settings.stages), else the usual six.
CREATE OR REPLACE FUNCTION pipeline_stages(tenant uuid)
RETURNS TABLE ("position" integer, name text, label text, probability integer, outcome text)
LANGUAGE sql STABLE SET search_path = pg_catalog, public
AS $$
    WITH own AS (
        SELECT s.ordinality::integer AS "position", s.stage ->> 'name' AS name,
               coalesce(s.stage ->> 'label', initcap(replace(s.stage ->> 'name', '_', ' '))) AS label,
               (s.stage ->> 'probability')::integer AS probability, coalesce(s.stage ->> 'outcome', 'open') AS outcome
        FROM module_settings m
        CROSS JOIN LATERAL jsonb_array_elements(
            CASE WHEN jsonb_typeof(m.settings -> 'stages') = 'array' THEN m.settings -> 'stages' ELSE '[]' END)
            WITH ORDINALITY AS s (stage, ordinality)
        WHERE m.tenant_id = tenant AND m.module_name = 'opportunities' AND jsonb_typeof(s.stage) = 'object'
    )
    SELECT * FROM own
    UNION ALL
    SELECT * FROM (VALUES
        (1, 'prospecting', 'Prospecting', 10, 'open'), (2, 'qualification', 'Qualification', 25, 'open'),
        (3, 'proposal', 'Proposal', 50, 'open'), (4, 'negotiation', 'Negotiation', 75, 'open'),
        (5, 'closed_won', 'Closed Won', 100, 'won'), (6, 'closed_lost', 'Closed Lost', 0, 'lost')
    ) AS usual ("position", name, label, probability, outcome)
    WHERE NOT EXISTS (SELECT FROM own)
    ORDER BY 1
$$;

-- BEFORE INSERT, or UPDATE when stage or probability change, per row. The probability follows the stage unless the same
-- statement says another one; what a stage means (open, won, lost) stays as it was when the deal entered it.
CREATE OR REPLACE FUNCTION enter_stage() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    entered record;
BEGIN
    IF archiving() THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.stage IS NOT DISTINCT FROM OLD.stage THEN
        NEW.probability := coalesce(NEW.probability, OLD.probability);
        RETURN NEW;
    END IF;
    NEW.stage := lower(NEW.stage);
    IF coalesce(NEW.stage, '') = '' THEN
        NEW.stage := (SELECT s.name FROM pipeline_stages(NEW.tenant_id) s WHERE s.outcome = 'open' LIMIT 1);
    END IF;
    SELECT s.* INTO entered FROM pipeline_stages(NEW.tenant_id) s WHERE s.name = NEW.stage;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown stage' USING ERRCODE = 'check_violation', CONSTRAINT = 'stage', TABLE = TG_TABLE_NAME,
            HINT = 'must be one of: ' || (SELECT string_agg(s.name, ', ') FROM pipeline_stages(NEW.tenant_id) s);
    END IF;
    IF NEW.probability IS NULL
       OR (TG_OP = 'UPDATE' AND NEW.probability IS NOT DISTINCT FROM OLD.probability)
       OR entered.outcome <> 'open' THEN
        NEW.probability := entered.probability;
    END IF;
    NEW.outcome := entered.outcome;
    NEW.stage_changed_at := clock_timestamp();
    NEW.closed_at := CASE WHEN entered.outcome = 'open' THEN NULL ELSE clock_timestamp() END;
    RETURN NEW;
END
$$;

-- AFTER INSERT and AFTER UPDATE on opportunities, per statement: one row of history for each stage that was entered. What
-- comes back from the archive brings its history with it.
CREATE OR REPLACE FUNCTION record_stage_entries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    IF archiving() THEN
        RETURN NULL;
    END IF;
    INSERT INTO opportunity_stage_history (tenant_id, opportunity_id, to_stage, outcome, amount, probability,
                                           changed_by, changed_at)
    SELECT tenant_id, id, stage, outcome, amount, probability, current_user_id(), stage_changed_at FROM changed_rows;
    RETURN NULL;
END
$$;
CREATE OR REPLACE FUNCTION record_stage_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    INSERT INTO opportunity_stage_history (tenant_id, opportunity_id, from_stage, to_stage, outcome, amount,
                                           probability, changed_by, changed_at, seconds_in_previous)
    SELECT n.tenant_id, n.id, o.stage, n.stage, n.outcome, n.amount, n.probability, current_user_id(),
           n.stage_changed_at, greatest(0, extract(epoch FROM n.stage_changed_at - o.stage_changed_at))::bigint
    FROM new_rows n JOIN old_rows o USING (tenant_id, id)
    WHERE n.stage IS DISTINCT FROM o.stage;
    RETURN NULL;
END
$$;

-- BEFORE INSERT, or UPDATE of status, per row: a lead is converted by lead_convert, and by nothing else.
CREATE OR REPLACE FUNCTION guard_conversion() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    IF (NEW.status = 'converted') IS DISTINCT FROM (NEW.converted_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the status of a conversion' USING ERRCODE = 'check_violation', CONSTRAINT = 'status',
            TABLE = TG_TABLE_NAME,
            HINT = CASE WHEN NEW.converted_at IS NULL THEN 'becomes converted by converting the lead'
                        ELSE 'stays converted until the conversion is rolled back' END;
    END IF;
    RETURN NEW;
END
$$;

-- BEFORE INSERT, or UPDATE of status, per row: archived_at says since when a source is archived, and nothing else.
CREATE OR REPLACE FUNCTION stamp_archived() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    NEW.archived_at := CASE WHEN NEW.status = 'archived' THEN coalesce(NEW.archived_at, clock_timestamp()) END;
    RETURN NEW;
END
$$;

-- The instant at which something is overdue: without a time of day the end of the day, in the given time zone, else the
-- tenant's, else UTC. Null without a day, and when there is no such time zone.
CREATE OR REPLACE FUNCTION due_instant(of_tenant uuid, due_date date, due_time text, timezone text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public
AS $$
DECLARE
    zone text := timezone;
BEGIN
    IF due_date IS NULL THEN
        RETURN NULL;
    END IF;
    zone := coalesce(zone, tenant_timezone(of_tenant));
    RETURN (due_date + coalesce(due_time::time, '24:00'::time)) AT TIME ZONE zone;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN NULL;
END
$$;

-- BEFORE INSERT, or UPDATE of what it is made of, per row: when an activity was completed, and when it is overdue.
CREATE OR REPLACE FUNCTION schedule_activity() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
BEGIN
    IF archiving() THEN
        RETURN NEW;
    END IF;
    IF NEW.status = 'completed' THEN
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    ELSE
        NEW.completed_at := NULL;
    END IF;
    IF NEW.due_date NOT BETWEEN '1900-01-01' AND '9998-12-31' THEN
        RAISE EXCEPTION 'due_date out of range' USING ERRCODE = 'check_violation', CONSTRAINT = 'due_date',
            TABLE = TG_TABLE_NAME, HINT = 'must be a day of the years 1900 to 9998';
    END IF;
    NEW.due_at := due_instant(NEW.tenant_id, NEW.due_date, NEW.due_time, NEW.timezone);
    IF NEW.due_at IS NULL AND NEW.due_date IS NOT NULL THEN
        RAISE EXCEPTION 'unknown time zone' USING ERRCODE = 'check_violation', CONSTRAINT = 'timezone',
            TABLE = TG_TABLE_NAME, HINT = 'must be a time zone such as Europe/Berlin';
    END IF;
    RETURN NEW;
END
$$;

GRANT EXECUTE ON FUNCTION due_instant(uuid, date, text, text) TO aisha_system, aisha_trigger;
GRANT EXECUTE ON FUNCTION pipeline_stages(uuid)
    TO aisha_all, aisha_own, aisha_department, aisha_system, aisha_reporting, aisha_trigger;
