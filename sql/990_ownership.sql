-- ============================================
-- File: 990_ownership.sql
-- Description: Hands the definer functions to their roles and ends the owner's membership in them
-- Dependencies: all other files of this directory; see 010_roles.sql
-- ============================================

ALTER FUNCTION record_rows() OWNER TO aisha_trigger;
ALTER FUNCTION record_updates() OWNER TO aisha_trigger;
ALTER FUNCTION audit_redact(uuid, text, uuid, text) OWNER TO aisha_trigger;
ALTER FUNCTION copy_assignee() OWNER TO aisha_trigger;
ALTER FUNCTION copy_account() OWNER TO aisha_trigger;
ALTER FUNCTION spread_assignee() OWNER TO aisha_trigger;
ALTER FUNCTION spread_account() OWNER TO aisha_trigger;
ALTER FUNCTION copy_contact() OWNER TO aisha_trigger;
ALTER FUNCTION spread_contact() OWNER TO aisha_trigger;
ALTER FUNCTION copy_related() OWNER TO aisha_trigger;
ALTER FUNCTION spread_related() OWNER TO aisha_trigger;
ALTER FUNCTION unlink_related() OWNER TO aisha_trigger;
ALTER FUNCTION enter_stage() OWNER TO aisha_trigger;
ALTER FUNCTION record_stage_entries() OWNER TO aisha_trigger;
ALTER FUNCTION record_stage_changes() OWNER TO aisha_trigger;
ALTER FUNCTION schedule_activity() OWNER TO aisha_trigger;
ALTER FUNCTION link_employee() OWNER TO aisha_trigger;

ALTER FUNCTION search_ids(text, text, text[], timestamptz, uuid, integer) OWNER TO aisha_search;
ALTER FUNCTION search_count(text, text, text[], integer) OWNER TO aisha_search;
ALTER FUNCTION search_all(text, text[], timestamptz, uuid, integer) OWNER TO aisha_search;
ALTER FUNCTION search_own(text, text[], timestamptz, uuid, integer) OWNER TO aisha_search;
ALTER FUNCTION search_department(text, text[], timestamptz, uuid, integer) OWNER TO aisha_search;
ALTER FUNCTION search_count_all(text, text[], integer) OWNER TO aisha_search;
ALTER FUNCTION search_count_own(text, text[], integer) OWNER TO aisha_search;
ALTER FUNCTION search_count_department(text, text[], integer) OWNER TO aisha_search;

-- Whoever makes a trigger must be allowed to execute its function.
GRANT EXECUTE ON FUNCTION record_rows(), record_updates(), copy_assignee(), copy_account(),
    spread_assignee(), spread_account(), link_employee(), copy_contact(), spread_contact(), copy_related(),
    spread_related(), unlink_related(), enter_stage(), record_stage_entries(), record_stage_changes(),
    schedule_activity() TO CURRENT_USER;

-- Nobody else erases.
GRANT EXECUTE ON FUNCTION audit_redact(uuid, text, uuid, text) TO CURRENT_USER;

REVOKE CREATE ON SCHEMA public FROM aisha_trigger, aisha_search;
REVOKE aisha_trigger, aisha_search FROM CURRENT_USER;
