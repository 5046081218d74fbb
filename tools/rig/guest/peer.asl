/* SPDX-License-Identifier: MIT */
/* A host bridge for a stock Xen PVH guest whose device model is QEMU's xenpvh. */
DefinitionBlock ("", "SSDT", 2, "RIG", "PEER", 1)
{
	Scope (\_SB)
	{
		Device (RES0)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_CRS, ResourceTemplate ()
			{
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0,
					0xC000000000, 0xC00FFFFFFF, 0, 0x10000000)
			})
		}

		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_CCA, 1)
			Method (_CBA, 0, NotSerialized) { Return (0xC000000000) }
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xFF, 0, 0x100)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0,
					0xFD000000, 0xFE7FFFFF, 0, 0x1800000)
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0,
					0xC010000000, 0xD00FFFFFFF, 0, 0x1000000000)
			})
		}
	}
}
