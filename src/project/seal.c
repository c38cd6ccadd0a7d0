/*
 * seal.c
 *		States of aggregates as bytes that nobody can have made up.
 *
 * A state that an aggregate keeps in memory is stored as the bytes that its own
 * serialisation function makes of it. That function's counterpart trusts them:
 * in the server itself they never leave it. In a read table they do, and whoever
 * may write the table could feed the server whatever they like. So the bytes
 * are sealed with a key that only the extension's owner can read, for one
 * aggregate, and are not looked at when the seal is broken.
 *
 * Another major version of the server may understand the bytes otherwise, so
 * the version stands before them, and they are refused where it is another.
 *
 * The key is made when it is first needed: a restore brings its own.
 */
#include "evstore.h"

#include "access/xact.h"
#include "base/catalog.h"
#include "base/owner.h"
#include "catalog/pg_type.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "project/seal.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define KEY_LENGTH 32
#define MARK_LENGTH 16

/* What stands before the content. */
typedef struct Seal
{
	uint8		version[2];		/* of the server, high byte first */
	uint8		mark[MARK_LENGTH];
} Seal;

/* The key, and the schema of the extension that it belongs to; forgotten with what is rolled back, as it may be. */
static uint8 key[KEY_LENGTH];
static Oid	key_schema = InvalidOid;

/* A subtransaction was rolled back. */
static void
seal_subxact_aborted(SubTransactionId subxact)
{
	key_schema = InvalidOid;
}

/* The transaction is over. */
static void
seal_finished(bool committed)
{
	if (!committed)
		key_schema = InvalidOid;
}

const EvsXactSubscriber evs_seal_xact = {
	.finished = seal_finished,
	.subxact_aborted = seal_subxact_aborted,
};

/* Make the key of this database, if there is none yet. Call inside SPI. */
void
evs_seal_prepare(void)
{
	Oid			types[] = {BYTEAOID};
	bytea	   *random = palloc(VARHDRSZ + KEY_LENGTH);
	Datum		values[] = {PointerGetDatum(random)};
	EvsOwnerFrame frame;

	SET_VARSIZE(random, VARHDRSZ + KEY_LENGTH);
	if (!pg_strong_random(VARDATA(random), KEY_LENGTH))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a random key")));
	evs_owner_begin_extension(&frame);
	if (SPI_execute_with_args("INSERT INTO evstore._seal (key) SELECT $1 WHERE NOT EXISTS (SELECT FROM evstore._seal)"
							  " ON CONFLICT DO NOTHING", 1, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store the key of the seal");
	evs_owner_end(&frame);
}

/*
 * Read the key, as it is now: whoever appends may have a snapshot from before it
 * was made. In a parallel query there can be no other snapshot than the query's.
 */
static void
load_key(void)
{
	EvsOwnerFrame frame;
	Snapshot	snapshot;
	SPIPlanPtr	plan;
	bool		isnull;
	bytea	   *found;

	if (key_schema == evs_catalog()->schema)
		return;
	SPI_connect();
	evs_owner_begin_extension(&frame);
	plan = SPI_prepare("SELECT key FROM evstore._seal", 0, NULL);
	snapshot = RegisterSnapshot(IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
	if (plan == NULL ||
		SPI_execute_snapshot(plan, NULL, NULL, snapshot, InvalidSnapshot, true, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the key of the seal");
	UnregisterSnapshot(snapshot);
	evs_owner_end(&frame);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no key for stored states of aggregates in this database"),
				 errhint("Declare a projection that needs one, or restore the extension's tables.")));
	found = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (isnull || VARSIZE_ANY_EXHDR(found) != KEY_LENGTH)
		elog(ERROR, "malformed key of the seal");
	memcpy(key, VARDATA_ANY(found), KEY_LENGTH);
	key_schema = evs_catalog()->schema;
	SPI_finish();
}

/* The mark that belongs to a content. */
static void
make_mark(const char *aggregate, const uint8 *version, const void *content, size_t length, uint8 *mark)
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (context == NULL ||
		pg_hmac_init(context, key, KEY_LENGTH) < 0 ||
		pg_hmac_update(context, version, sizeof(((Seal *) NULL)->version)) < 0 ||
		pg_hmac_update(context, (const uint8 *) aggregate, strlen(aggregate) + 1) < 0 ||
		pg_hmac_update(context, content, length) < 0 ||
		pg_hmac_final(context, digest, sizeof(digest)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute the seal of an aggregate's state")));
	pg_hmac_free(context);
	memcpy(mark, digest, MARK_LENGTH);
}

/* Seal a state. */
bytea *
evs_seal_close(const char *aggregate, const bytea *content)
{
	size_t		length = VARSIZE_ANY_EXHDR(content);
	bytea	   *sealed = palloc(VARHDRSZ + sizeof(Seal) + length);
	Seal	   *seal = (Seal *) VARDATA(sealed);

	load_key();
	SET_VARSIZE(sealed, VARHDRSZ + sizeof(Seal) + length);
	seal->version[0] = EVS_SERVER_MAJOR >> 8;
	seal->version[1] = EVS_SERVER_MAJOR & 0xFF;
	memcpy(seal + 1, VARDATA_ANY(content), length);
	make_mark(aggregate, seal->version, seal + 1, length, seal->mark);
	return sealed;
}

/* The state that was sealed, or an error. */
bytea *
evs_seal_open(const char *aggregate, const bytea *sealed)
{
	size_t		length = VARSIZE_ANY_EXHDR(sealed);
	const Seal *seal = (const Seal *) VARDATA_ANY(sealed);
	uint8		mark[MARK_LENGTH];
	bytea	   *content;
	int			version;

	if (length >= sizeof(Seal))
	{
		version = seal->version[0] << 8 | seal->version[1];
		length -= sizeof(Seal);
		if (version != EVS_SERVER_MAJOR)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the state of aggregate %s was stored by PostgreSQL %d",
							aggregate, version),
					 errdetail("PostgreSQL %d may understand it otherwise.", EVS_SERVER_MAJOR),
					 errhint("Rebuild the projection.")));
		load_key();
		make_mark(aggregate, seal->version, seal + 1, length, mark);
		if (memcmp(mark, seal->mark, MARK_LENGTH) == 0)
		{
			content = palloc(VARHDRSZ + length);
			SET_VARSIZE(content, VARHDRSZ + length);
			memcpy(VARDATA(content), seal + 1, length);
			return content;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("the state of aggregate %s is not one that evstore has stored", aggregate),
			 errdetail("It was changed, it belongs to another aggregate or database, or the aggregate was renamed."),
			 errhint("Rebuild the projection.")));
}
