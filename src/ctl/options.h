/* SPDX-License-Identifier: MIT */
/* options.h - one table row per option of the command line (private to cmdline.c, options.c and
 * help.c) */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include "conf/opts.h"
#include "ctl/cmdline.h"

enum option_kind {
	OPTION_SECTION, /* a heading of the help text */
	OPTION_FLAG,	/* sets the bool at `at` */
	OPTION_STRING,	/* replaces the string at `at` */
	OPTION_PATH,	/* the same, a file's name */
	OPTION_LIST,	/* key=value,... is appended to the struct kvs_list at `at` */
	OPTION_PARAMS,	/* key=value,... by the rows of `params` into the struct cmdline */
	OPTION_CALL,	/* whatever call() does */
	OPTION_ONLY,	/* accepts only the words in `accepted`, without effect */
	OPTION_IGNORED, /* accepted without effect */
	OPTION_REFUSED, /* QEMU has it, `help` says why it cannot be here */
};

struct option_row {
	const char *name; /* without the dash */
	const char *arg;  /* what help calls its argument; NULL: takes none */
	enum option_kind kind;
	size_t at; /* offset in struct cmdline */
	int (*call)(struct cmdline *c, const struct option_row *o, const char *arg, struct err *e);
	const struct opt *params; /* known keys, where they are known here */
	const char *group;	  /* QMP's name of `params` */
	const char *implied;	  /* key of a first word without '=' */
	const char *accepted;	  /* OPTION_ONLY: words, separated by '|' */
	const char *id;		  /* key that names the entry: well-formed and unique */
	bool id_required;
	const char *paths; /* keys whose value is a file's name, separated by '|' */
	const char *names; /* keys whose value is a file's name, "no" or PROTOCOL:... */
	const char *help;
};

/* Ends with a row whose name is NULL. */
extern const struct option_row option_rows[];

/* Parse `arg` as key=value,...; 1 when it asked for help and got it. `k` is empty unless 0 is
 * returned. */
int options_parse_keys(const struct option_row *o, const char *arg, struct kvs *k, struct err *e);
/* Returns -EINVAL with `e` when `k` has a key that was not read by kvs_get(), else 0. */
int options_check_unused(struct kvs *k, struct err *e);
/* Append `k` to `list` after the check of its id; takes `k` over in any case. */
int options_append(const struct option_row *o, struct kvs_list *list, struct kvs *k, struct err *e);
int options_set_string(char **at, const char *value, struct err *e);
/* Set the fields whose rows are given in `k`, leave the others. 0 or -errno with `e`. */
int options_apply_given(const struct opt *rows, struct kvs *k, struct cmdline *c, struct err *e);
/* The option that `arg` ("-m", "--m") names, or NULL. */
const struct option_row *option_find(const char *arg);
/* Is `word` one of `words` ("a|b|c")? */
bool word_is_among(const char *word, const char *words);

/* help.c: -help; and the text for `-device help`, `-device X,help`, ... False when `o` has no such
 * text. */
void help_options(FILE *out);
void help_man(FILE *out);
void help_words(FILE *out);
bool help_about(const struct option_row *o, struct kvs *k, FILE *out);

#endif
