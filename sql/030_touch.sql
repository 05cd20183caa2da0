-- ============================================
-- File: 030_touch.sql
-- Description: version and updated_at of a changed row; the marker that lets a row leave the caller's scope
-- Dependencies: 020_context.sql
-- ============================================

-- BEFORE UPDATE, per row. Arguments: the quiet columns (an array literal), whose changes alone are no change of the
-- record, and the generated columns, which have no value yet at this point.
CREATE OR REPLACE FUNCTION touch_record() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
DECLARE
    ignored text[] := TG_ARGV[0]::text[] || TG_ARGV[1]::text[];
    before jsonb := to_jsonb(OLD);
    after jsonb := to_jsonb(NEW);
BEGIN
    IF after -> 'id' <> before -> 'id' OR after -> 'tenant_id' IS DISTINCT FROM before -> 'tenant_id' THEN
        RAISE EXCEPTION 'the id and the tenant of a row never change' USING ERRCODE = 'restrict_violation';
    END IF;
    IF after - ignored = before - ignored THEN
        RETURN NEW;
    END IF;
    NEW.version := OLD.version + 1;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

-- BEFORE UPDATE, per row, when the assignee changes.
CREATE OR REPLACE FUNCTION begin_hand_over() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    PERFORM set_config('app.handed_over', NEW.id::text, true);
    RETURN NEW;
END
$$;

-- AFTER UPDATE, per statement: later statements of the transaction see no more than before.
CREATE OR REPLACE FUNCTION end_hand_over() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public
AS $$
BEGIN
    IF current_setting('app.handed_over', true) <> '' THEN
        PERFORM set_config('app.handed_over', '', true);
    END IF;
    RETURN NULL;
END
$$;
