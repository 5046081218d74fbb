/* SPDX-License-Identifier: MIT */
#include "vm.h"

int main(void)
{
	return 0;
}
