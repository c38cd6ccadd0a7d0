/*
 * latency: how long after its commit does an event show in a read table?
 *
 * usage: latency SECONDS, with the connection in libpq's environment variables
 *
 * One connection, two methods in turn, probe by probe:
 *
 *   poll  append; then read the row of the read table over and over until it
 *         counts the event
 *   wait  append; then evstore.wait_for() that position, and read once to see
 *         that the read table really has it
 *
 * The clock starts when the append's reply has arrived, that is after its
 * commit, and stops when the reply arrives that shows the event. So both
 * methods report too much rather than too little: poll by up to one read
 * before the event showed and by the whole of the last read, wait by a wake-up
 * of this connection's backend.
 *
 * Prints one line a probe: method, commit to read table, append, and one
 * further read under the same load, all times in milliseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

/* a probe that has not shown by then is an error */
#define GIVE_UP_MS 10000.0
/* between two probes, in milliseconds; random, so that no rhythm of the load is met in step */
#define PAUSE_MIN_MS 2.0
#define PAUSE_MAX_MS 8.0

static PGconn *connection;

/* the time of a clock that never steps, in milliseconds */
static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* sleep for a random while */
static void
pause_a_while(void)
{
	double		ms = PAUSE_MIN_MS + (PAUSE_MAX_MS - PAUSE_MIN_MS) * drand48();
	struct timespec t = {.tv_sec = 0,.tv_nsec = (long) (ms * 1e6)};

	nanosleep(&t, NULL);
}

/* say what went wrong and exit */
static void
fail(const char *what)
{
	fprintf(stderr, "latency: %s: %s\n", what, PQerrorMessage(connection));
	exit(1);
}

/* make a prepared statement */
static void
prepare(const char *name, const char *text)
{
	PGresult   *result = PQprepare(connection, name, text, 0, NULL);

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(name);
	PQclear(result);
}

/* run a prepared statement with at most one parameter; its first value goes into value, "" if there is none */
static void
run(const char *name, const char *parameter, char value[64])
{
	PGresult   *result = PQexecPrepared(connection, name, parameter ? 1 : 0, &parameter, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(name);
	snprintf(value, 64, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
}

/* how many probes the read table counts */
static long
count_shown(void)
{
	char		value[64];

	run("read", NULL, value);
	return atol(value);
}

/* read until the probes counted are as many as said */
static void
poll_until(long probes)
{
	double		start = now_ms();

	while (count_shown() < probes)
	{
		if (now_ms() - start > GIVE_UP_MS)
		{
			fprintf(stderr, "latency: an event did not show within %.0f ms\n", GIVE_UP_MS);
			exit(1);
		}
	}
}

/* append the probe of that number and print how long it took to show */
static void
probe(long number, int by_poll)
{
	char		position[64];
	char		done[64];
	double		start = now_ms();
	double		committed;
	double		shown;
	double		read;

	run("append", NULL, position);
	committed = now_ms();
	if (by_poll)
	{
		poll_until(number);
		shown = now_ms();
	}
	else
	{
		run("wait", position, done);
		shown = now_ms();
		if (strcmp(done, "t") != 0 || count_shown() < number)
		{
			fprintf(stderr, "latency: wait_for returned %s, but the read table lacks the event\n", done);
			exit(1);
		}
	}
	read = now_ms();
	count_shown();
	read = now_ms() - read;
	printf("%s %.4f %.4f %.4f\n", by_poll ? "poll" : "wait", shown - committed, committed - start, read);
}

int
main(int argc, char **argv)
{
	double		end;
	long		number;

	if (argc != 2 || atof(argv[1]) <= 0)
	{
		fprintf(stderr, "usage: latency SECONDS\n");
		return 2;
	}
	connection = PQconnectdb("");
	if (PQstatus(connection) != CONNECTION_OK)
		fail("could not connect");
	prepare("append", "SELECT position FROM evstore.append('probe-1', 'OrderPlaced', '{\"region\": \"probe\", \"amount\": 1}')");
	prepare("read", "SELECT orders FROM orders_by_region WHERE region = 'probe'");
	prepare("wait", "SELECT evstore.wait_for('orders_by_region', $1, '10 s')");

	end = now_ms() + atof(argv[1]) * 1e3;
	for (number = count_shown() + 1; now_ms() < end; number++)
	{
		probe(number, number % 2);
		pause_a_while();
	}
	PQfinish(connection);
	return 0;
}
