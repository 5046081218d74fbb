/* SPDX-License-Identifier: MIT */
/* battery.c - see battery.h */
#include "battery.h"

#include "g9p.h"

struct bat bat;

static const struct subject subjects[] = {
	{.name = "virtio-blk-pci",
	 .args = "-blockdev driver=null-co,node-name=d,size=8M,read-zeroes=on",
	 .props = ",drive=d,num-queues=4",
	 .id = GV_BLK,
	 .eager = 15},
	{.name = "virtio-net-pci",
	 .args = "-netdev stream,id=n,server=on,addr.type=unix,addr.path=@/net",
	 .props = ",netdev=n",
	 .id = GV_NET,
	 .eager = 6}, /* not the receive queue */
	{.name = "virtio-rng-pci", .id = GV_RNG, .eager = 1},
	{.name = "virtio-9p-pci",
	 .args = "-fsdev synth,id=f0",
	 .props = ",fsdev=f0,mount_tag=t",
	 .id = GV_9P,
	 .eager = 1},
	{.name = "virtio-serial-pci", .props = ",max_ports=2", .id = GV_SERIAL, .eager = 0x2a},
	{.name = "virtio-vsock-pci",
	 .props = ",guest-cid=3,uds-path=@/vsock",
	 .id = GV_VSOCK,
	 .eager = 2},
	{.name = "vhost-vsock-pci",
	 .needs = "/dev/vhost-vsock",
	 .props = ",guest-cid=3",
	 .id = GV_VSOCK},
	{.name = "virtio-balloon-pci", .id = GV_BALLOON, .eager = 3}, /* not statistics */
};

/* In the order of BAT_SPLIT, BAT_PACKED. */
static const struct layout layouts[] = {
	{"split", "", 0, BAT_SIZE},
	{"packed", ",packed=on", GV_F_PACKED, BAT_SIZE},
};

/* --- which --- */

static const struct subject *find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(subjects); i++)
		if (!strcmp(subjects[i].name, name))
			return &subjects[i];
	return NULL;
}

static void complete(void **state)
{
	struct tb *t = *state;
	json_t *types, *type;
	size_t i;

	tb_skip_qemu("the battery is for the devices of xenpvh");
	tb_start(t);
	types = tb_qmp(t, "{\"execute\": \"qom-list-types\", \"arguments\": "
			  "{\"implements\": \"virtio-pci\"}}");
	json_array_foreach (types, i, type) {
		const char *name = json_string_value(json_object_get(type, "name"));

		if (!find(name))
			fail_msg("%s: no row in tests/dev/battery.c", name);
	}
	assert_int_equal(json_array_size(types), ARRAY_SIZE(subjects));
	json_decref(types);
	tb_stop(t);
}

int bat_complete(void)
{
	const struct CMUnitTest tests[] = {tb_test(complete)};

	return cmocka_run_group_tests_name("battery", tests, NULL, NULL);
}

/* With threads for the queues of disks, the others would be the same again. */
static bool wanted_now(const struct subject *s)
{
	return !tb_is_qemu() && (!getenv("TB_IOTHREADS") || s->id == GV_BLK);
}

bool bat_choose(unsigned i, unsigned wanted)
{
	unsigned n = 0;

	for (unsigned k = 0; k < ARRAY_SIZE(subjects); k++) {
		if (!wanted_now(&subjects[k]) ||
		    (subjects[k].needs && access(subjects[k].needs, F_OK) < 0))
			continue;
		for (unsigned l = 0; l < ARRAY_SIZE(layouts); l++)
			if (wanted >> l & 1 && n++ == i) {
				bat = (struct bat){.s = &subjects[k]};
				layout = &layouts[l];
				return true;
			}
	}
	return false;
}

/* --- the machine --- */

static void add_args(struct tb *t, const char *text)
{
	char *words = strdup(text), *save = NULL;

	assert_non_null(words);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *at = strchr(w, '@');

		if (at)
			tb_arg(t, "%.*s%s%s", (int)(at - w), w, t->dir, at + 1);
		else
			tb_arg(t, "%s", w);
	}
	free(words);
}

void bat_begin(struct tb *t)
{
	const struct subject *s = bat.s;
	const char *at;

	if (s->args)
		add_args(t, s->args);
	at = s->props ? strchr(s->props, '@') : NULL;
	tb_device(t, "%s,id=subject%.*s%s%s%s", s->name,
		  at ? (int)(at - s->props) : (int)strlen(s->props ? s->props : ""),
		  s->props ? s->props : "", at ? t->dir : "", at ? at + 1 : "", layout->props);
	tb_device(t, "virtio-rng-pci,id=other");
	tb_start(t);
	grng_open(&t->g, &bat.other, s->id == GV_RNG);
	gv_open(&t->g, &bat.v, s->id, 0);
	bat.queues = gv_common(&bat.v, GV_NUM_QUEUES, 2);
	assert_in_range(bat.queues, 1, BAT_QUEUES);
	bat.low = t->g.next_low;
	bat_set_up(t, BAT_ALL);
	assert_int_equal(bat.v.features & layout->features, layout->features);
}

void bat_set_up(struct tb *t, uint64_t features)
{
	t->g.next_low = bat.low;
	gv_negotiate(&bat.v, features | layout->features);
	for (unsigned i = 0; i < bat.queues; i++)
		gvq_setup(&bat.v, &bat.q[i], i, BAT_SIZE);
	gv_start(&bat.v);
	gpci_msix_take(&bat.v.pci, 0);
}

void bat_alive(struct tb *t)
{
	uint8_t buf[16];

	assert_int_equal(grng_read(&bat.other, buf, sizeof(buf), GUEST_WAIT_MS), sizeof(buf));
}

void bat_again(struct tb *t)
{
	bat_alive(t);
	bat_set_up(t, BAT_ALL);
	for (unsigned i = 0; i < bat.queues; i++) {
		gvq_ring(&bat.q[i]);
		gv_common_set(&bat.v, GV_QSELECT, 2, i);
		assert_int_equal(gv_common(&bat.v, GV_QENABLE, 2), 1);
		assert_int_equal(gv_common(&bat.v, GV_QSIZE, 2), BAT_SIZE);
	}
	bat_alive(t);
	assert_int_equal(gv_status(&bat.v), 15);
}

void bat_end(struct tb *t)
{
	bat_again(t);
	tb_stop(t);
}
