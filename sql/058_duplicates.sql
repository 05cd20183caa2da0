-- ============================================
-- File: 058_duplicates.sql
-- Description: The forms in which names, web addresses and phone numbers are compared to find duplicates
-- Dependencies: 010_roles.sql; used by generated columns (migration merges)
-- ============================================
--
-- IMMUTABLE, because generated columns are made of them: what they return for a text must not change without a migration
-- that rewrites those columns. They name what they strip instead of asking for a character class, whose meaning depends
-- on the locale of the database.

-- Lower case, without accents; punctuation is a blank, but dots and apostrophes are nothing (S.A. is sa).
CREATE OR REPLACE FUNCTION plain_words(given text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT nullif(btrim(regexp_replace(regexp_replace(lower(normalize(given, NFKD)), '[\u0300-\u036f.''’`´]', '', 'g'),
        '[][\s!"#$%&()*+,/:;<=>?@\\^_{|}~–—…«»„“”‘·-]+', ' ', 'g')), '')
$$;

-- A company's name without the legal forms at its end: "ACME, Inc." and "Acme GmbH & Co. KG" are both acme. A name that
-- is nothing but a legal form stays.
CREATE OR REPLACE FUNCTION company_normalized(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT regexp_replace(plain_words(name), '^(.+?)(?: (?:inc|incorporated|corp|corporation|co|company|llc|llp|lllp|lp|plc|'
        || 'ltd|limited|gmbh|mbh|ag|kg|kgaa|ohg|gbr|ug|haftungsbeschränkt|haftungsbeschrankt|ev|eg|se|sa|sas|sasu|sarl|'
        || 'eurl|srl|srls|spa|sl|slu|bv|nv|vof|ab|as|asa|aps|oy|oyj|kft|zrt|doo|dd|sro|spzoo|pty|pte|pvt|private|kk|'
        || 'sdn|bhd|and|und|et|y))+$', '\1')
$$;

-- A person's name.
CREATE OR REPLACE FUNCTION person_normalized(first_name text, last_name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT plain_words(first_name || ' ' || last_name) $$;

-- The host of a web address without www: scheme, user, port, path and case do not count. On sites where everybody has a
-- page, the page is what tells two companies apart, so there the path stays.
CREATE OR REPLACE FUNCTION website_domain(url text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN host !~ '\.' THEN NULL
        WHEN host IN ('facebook.com', 'linkedin.com', 'instagram.com', 'x.com', 'twitter.com', 'youtube.com',
                      'tiktok.com', 'xing.com', 'github.com', 'linktr.ee', 'sites.google.com', 'medium.com', 'etsy.com')
            THEN nullif(host || path, host)
        ELSE host END
    FROM (
        SELECT regexp_replace(rtrim(substring(rest from '^[^/?#:]*'), '.'), '^www[0-9]*\.', '') AS host,
               rtrim(coalesce(substring(rest from '^[^/?#]*(/[^?#]*)'), ''), '/') AS path
        FROM (SELECT regexp_replace(lower(btrim(url)), '^([a-z][a-z0-9+.-]*:)?(//)?([^/?#@]*@)?', '') AS rest) AS stripped
    ) AS parts
$$;

-- The digits of a number that has no E.164 form, which is then all there is to compare; extensions are too short.
CREATE OR REPLACE FUNCTION phone_digits(phone text, e164 text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN e164 IS NULL THEN substring(regexp_replace(phone, '[^0-9]', '', 'g') from '^[0-9]{5,}$') END
$$;

GRANT EXECUTE ON FUNCTION plain_words(text), company_normalized(text), person_normalized(text, text),
    website_domain(text), phone_digits(text, text)
    TO aisha_all, aisha_own, aisha_department, aisha_system, aisha_trigger;
